"""The harness against itself: contenders that it measured a second time must come out at 1.00."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis import stats
from analysis.cells import Cell, Key, build_again_cells, build_cells
from harness.schema import Row


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


def find_self_check(rows: Iterable[Row], cells: Mapping[Key, Cell] | None = None) -> SelfCheck | None:
    """Compare every cell measured twice; None when there is none. `cells`: those of the rows, where they are known."""
    rows = list(rows)
    cells = build_cells(rows) if cells is None else cells
    pairs = [(cells[key], again) for key, again in build_again_cells(rows).items() if key in cells]
    pairs = [(first, again) for first, again in pairs if first.ranked and again.ranked]
    if not pairs:
        return None
    ratios = np.array([again.mean_ms / first.mean_ms for first, again in pairs])
    # batches of one process share its offset: draws are averaged in sorted order, as if they moved together
    draws = np.mean([np.sort(_log_ratio(first, again)) for first, again in pairs], axis=0)
    low, high = stats.percentile_interval(np.exp(draws), stats.RATIO_CONFIDENCE)
    deviation = float(np.max(np.abs(ratios - 1))) * 100
    return SelfCheck(len(pairs), float(np.exp(np.mean(np.log(ratios)))), low, high, deviation)


def _log_ratio(first: Cell, again: Cell) -> stats.Array:
    return np.asarray(np.log(again.draws / first.draws))
