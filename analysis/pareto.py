"""Accuracy against speed: the cells that no other beats, where a difference within its interval counts as none.

docs/decisions/pareto.md says how ties are handled and where accuracies come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.accuracy import ExpectedAccuracy
from analysis.cells import Cell, Key
from analysis.stats import CONFIDENCE, RATIO_CONFIDENCE, Array

Accuracies = Mapping[tuple[str, int], ExpectedAccuracy]


def pareto_front(gain: Array, gain_half: Array, accuracy: Array, accuracy_half: Array) -> np.ndarray:
    """Which points are on the front, shape (n,). `gain` (n,) is better when greater; `gain_half` (n,) its half-width.

    `accuracy` (n,) with `accuracy_half` (n, n), the half-width of each difference. A point is off the front when
    another is better in one, by more than the half-width of their difference, and not so much worse in the other.
    """
    faster = gain[:, None] - gain[None, :] > np.hypot(gain_half[:, None], gain_half[None, :])
    righter = accuracy[:, None] - accuracy[None, :] > accuracy_half
    beats = (faster & ~righter.T) | (righter & ~faster.T)
    return np.asarray(~beats.any(axis=0))


def with_fronts(table: pd.DataFrame, cells: Mapping[Key, Cell], accuracies: Accuracies) -> pd.DataFrame:
    """The summary with expected_accuracy, expected_accuracy_error, fps_front and latency_front filled in.

    A front's candidates are each contender and image size at its batch of most FPS, or of least latency. For other
    cells the front's column stays empty, as it does without accuracies.
    """
    table = table.copy()
    pairs = list(zip(table["contender"], table["image_size"], table["ranked"], strict=True))
    known = [accuracies.get((str(contender), int(size))) if ranked else None for contender, size, ranked in pairs]
    table["expected_accuracy"] = [each.share if each else np.nan for each in known]
    table["expected_accuracy_error"] = [np.hypot(each.error, each.loss_error) if each else np.nan for each in known]
    judged = table[table["expected_accuracy"].notna()]
    for name, column, best in (("fps_front", "fps", "idxmax"), ("latency_front", latency_column(judged), "idxmin")):
        table[name] = pd.Series(None, index=table.index, dtype=object)
        if judged.empty:
            continue
        at = getattr(pd.to_numeric(judged[column]).groupby([judged["contender"], judged["image_size"]]), best)()
        table.loc[at, name] = _on_front(judged.loc[at], column, cells, accuracies)
    return table


def exceeds(one: Mapping[str, Any], other: Mapping[str, Any], column: str) -> bool:
    """Whether the bare numbers of `one` line beat the other's: better in speed or accuracy, not worse in either.

    `column`: fps, or a latency. On a front the lines that another exceeds are there for a tie alone.
    """
    sign = 1 if column == "fps" else -1
    gains = sign * (one[column] - other[column]), one["expected_accuracy"] - other["expected_accuracy"]
    return bool(min(gains) >= 0 and max(gains) > 0)


def latency_column(table: pd.DataFrame) -> str:
    """What a caller waits for, or the device's time where that is not known for every cell."""
    return "host_ms" if pd.to_numeric(table["host_ms"]).notna().all() else "mean_ms"


def _on_front(lines: pd.DataFrame, column: str, cells: Mapping[Key, Cell], accuracies: Accuracies) -> np.ndarray:
    names = ["image_size", "batch_size", "backend", "variant", "precision"]
    half = [_half_width(cells[Key(*key)], column) for key in lines[names].itertuples(index=False, name=None)]
    right = [accuracies[pair] for pair in zip(lines["contender"], lines["image_size"], strict=True)]
    gain = np.log(pd.to_numeric(lines[column]).to_numpy(float)) * (1 if column == "fps" else -1)
    return pareto_front(gain, np.array(half), np.array([each.share for each in right]), _difference_halves(right))


def _half_width(cell: Cell, column: str) -> float:
    """Half the 99% interval of a cell's log time, as for ratios; infinite without an interval."""
    draws = cell.host_draws() if column == "host_ms" else cell.draws
    if not np.all(np.isfinite(draws)):
        return float("inf")
    low, high = np.quantile(draws, [(1 - RATIO_CONFIDENCE) / 2, (1 + RATIO_CONFIDENCE) / 2])
    return float(np.log(high / low) / 2)


def _difference_halves(accuracies: Sequence[ExpectedAccuracy]) -> Array:
    """Half-width of the 95% interval of each difference, shape (n, n).

    The images that judged a size are the same for all its contenders, so within a size only what precisions lose
    differs.
    """
    size = np.array([each.image_size for each in accuracies])
    weights = np.array([each.error for each in accuracies]) ** 2
    loss = np.array([each.loss_error for each in accuracies]) ** 2
    variance = loss[:, None] + loss[None, :] + (size[:, None] != size) * (weights[:, None] + weights[None, :])
    return np.asarray(norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(variance))


@dataclass(frozen=True)
class Need:
    """What a user asks for: the least accuracy (0..1) and the most ms for one batch; None asks for nothing."""

    min_accuracy: float | None = None
    max_ms: float | None = None


def answer_need(table: pd.DataFrame, need: Need) -> dict[int, pd.Series | None]:
    """For each image size of the summary the ranked cell with most FPS that meets the need, None where none does.

    Accuracy is `expected_accuracy` (a cell without one meets no need of accuracy), latency that of latency_column.
    """
    ranked = table[table["ranked"].astype(bool)]
    meets = pd.Series(True, index=ranked.index)
    if need.max_ms is not None:
        meets &= pd.to_numeric(ranked[latency_column(ranked)]) <= need.max_ms
    if need.min_accuracy is not None:
        meets &= pd.to_numeric(ranked["expected_accuracy"]) >= need.min_accuracy
    met = ranked[meets]
    best = {int(str(size)): part.loc[part["fps"].idxmax()] for size, part in met.groupby("image_size")}
    return {int(size): best.get(int(size)) for size in sorted(set(ranked["image_size"]))}


def best_size(answers: Mapping[int, pd.Series | None]) -> int | None:
    """The image size with the most FPS among those that meet a need; the smaller of equals; None when none does."""
    met = {size: float(cell["fps"]) for size, cell in answers.items() if cell is not None}
    return max(met, key=lambda size: (met[size], -size)) if met else None
