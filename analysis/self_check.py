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

    Of the cells that were `ok` both times, or of all where none was. `noise_floor_percent` is the largest deviation
    from 1.00 in any one of them, in %; `worst_percent` in any cell, unstable ones too: None where these deviate no
    further.
    """

    cells: int
    ratio: float
    low: float
    high: float
    noise_floor_percent: float
    worst_percent: float | None


def find_self_check(rows: Iterable[Row], cells: Mapping[Key, Cell] | None = None) -> SelfCheck | None:
    """Compare every cell measured twice; None when there is none. `cells`: those of the rows, where they are known."""
    rows = list(rows)
    cells = build_cells(rows) if cells is None else cells
    pairs = [(cells[key], again) for key, again in build_again_cells(rows).items() if key in cells]
    pairs = [(first, again) for first, again in pairs if first.ranked and again.ranked]
    if not pairs:
        return None
    worst = _deviation(pairs)
    pairs = [pair for pair in pairs if all(cell.status == "ok" for cell in pair)] or pairs
    ratios = np.array([again.mean_ms / first.mean_ms for first, again in pairs])
    # batches of one process share its offset: draws are averaged in sorted order, as if they moved together
    draws = np.mean([np.sort(_log_ratio(first, again)) for first, again in pairs], axis=0)
    low, high = stats.percentile_interval(np.exp(draws), stats.RATIO_CONFIDENCE)
    floor = _deviation(pairs)
    ratio = float(np.exp(np.mean(np.log(ratios))))
    return SelfCheck(len(pairs), ratio, low, high, floor, worst if worst > floor else None)


def _deviation(pairs: list[tuple[Cell, Cell]]) -> float:
    """Largest, in %."""
    return 100 * max(abs(again.mean_ms / first.mean_ms - 1) for first, again in pairs)


def _log_ratio(first: Cell, again: Cell) -> stats.Array:
    return np.asarray(np.log(again.draws / first.draws))
