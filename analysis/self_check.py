"""The harness against itself: contenders that it measured a second time must come out at 1.00."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis import stats
from analysis.cells import Cell, Key, build_cells
from harness.schema import AGAIN, Row


@dataclass(frozen=True)
class SelfCheck:
    """Second time over first time of the same contender: geometric mean over `cells`, with its 99% interval.

    `noise_floor_percent` is the largest deviation from 1.00 in any one cell, in %.
    """

    cells: int
    ratio: float
    low: float
    high: float
    noise_floor_percent: float


def is_again(row: Row) -> bool:
    """Whether a row is a second measurement, made only as a check."""
    return row.job.variant.endswith(AGAIN)


def find_self_check(rows: Iterable[Row]) -> SelfCheck | None:
    """Compare every cell measured twice; None when there is none."""
    cells = build_cells(rows)
    pairs = [(cells[first], again) for key, again in cells.items() if (first := _first(key)) in cells and first != key]
    pairs = [(first, again) for first, again in pairs if first.ranked and again.ranked]
    if not pairs:
        return None
    ratios = np.array([again.mean_ms / first.mean_ms for first, again in pairs])
    draws = np.mean([_log_ratio(first, again) for first, again in pairs], axis=0)
    low, high = stats.percentile_interval(np.exp(draws), stats.RATIO_CONFIDENCE)
    deviation = float(np.max(np.abs(ratios - 1))) * 100
    return SelfCheck(len(pairs), float(np.exp(np.mean(np.log(ratios)))), low, high, deviation)


def _first(key: Key) -> Key:
    return key.of(key.backend, key.variant.removesuffix(AGAIN), key.precision)


def _log_ratio(first: Cell, again: Cell) -> stats.Array:
    return np.asarray(np.log(again.draws / first.draws))
