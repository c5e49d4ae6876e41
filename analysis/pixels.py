"""The pixel-count law: at saturation FPS x size^2 is the same at every size. Who departs from it, where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import Cell
from analysis.findings import key_of, lines
from analysis.names import label_of
from analysis.saturation import TOLERANCE
from analysis.study import Study

MEGA = 1e6


@dataclass(frozen=True)
class PixelRates:
    """One contender at its best batch of every size. `rates` in megapixels/s, one per Study size, NaN where missing.

    `exponent` k of FPS ~ size^-k at the best batches, with its 95% interval (2 is the law); `small_exponent` the same
    at `small_batch`, the smallest batch measured at two sizes or more (NaN without one).
    """

    contender: str
    label: str
    rates: list[float]
    exponent: float
    low: float
    high: float
    small_exponent: float


@dataclass(frozen=True)
class Departure:
    """A size at which a contender falls short of its own best pixel rate, by more than the tolerance and the interval.

    `share` is its rate over the best one, with its 99% interval. `cause`, from what the rows hold of the cell `line`:
    `launch` (the host takes `enqueue_ms` of `line.mean_ms`), `growing` (FPS still grew at the largest batch measured),
    `fixed` (the fitted curve has `fixed_ms` that no image pays for), `bandwidth`, `compute`, or `unknown`.
    `ended_batch`: the largest measured where the harness skipped the rest (saturation.find_saturation), else None.
    """

    label: str
    image_size: int
    best_size: int
    share: float
    low: float
    high: float
    cause: str
    line: dict[str, Any]
    enqueue_ms: float | None
    fixed_ms: float | None
    ended_batch: int | None


def pixel_rates(study: Study, sizes: Sequence[int]) -> list[PixelRates]:
    """Contenders measured at two sizes or more, the highest pixel rate first."""
    found = []
    for contender, best in _best_cells(study).items():
        if len(best) < 2:
            continue
        rates = {size: line["fps"] * size**2 / MEGA for size, (line, _) in best.items()}
        exponent = _slopes(list(best), [np.array([line["fps"]]) for line, _ in best.values()])
        low, high = stats.percentile_interval(_slopes(list(best), [cell.fps_draws() for _, cell in best.values()]))
        found.append(
            PixelRates(
                contender=contender,
                label=label_of(contender),
                rates=[rates.get(size, float("nan")) for size in sizes],
                exponent=float(exponent[0]),
                low=low,
                high=high,
                small_exponent=_small_exponent(study.ranked, contender),
            )
        )
    return sorted(found, key=lambda each: -np.nanmax(each.rates))


def small_batch(table: pd.DataFrame) -> int | None:
    """The smallest batch of the ranked `table` at which some contender was measured at two sizes or more."""
    counts = table.groupby(["batch_size", "contender"])["image_size"].nunique()
    batches = [int(batch) for batch, _ in counts[counts >= 2].index]
    return min(batches, default=None)


def departures(study: Study) -> list[Departure]:
    """All significant ones, the largest first."""
    fixed = study.saturation.set_index(["contender", "image_size"])
    found = []
    for contender, best in _best_cells(study).items():
        rates = {size: cell.fps_draws() * size**2 for size, (_, cell) in best.items()}
        top = max(best, key=lambda size: best[size][0]["fps"] * size**2)
        for size, (line, _) in best.items():
            low, high = stats.ratio_interval(rates[size], rates[top])
            share = line["fps"] * size**2 / (best[top][0]["fps"] * top**2)
            if size == top or share >= 1 - TOLERANCE or not high < 1:
                continue
            curve = fixed.loc[(contender, size)]
            cause, enqueue_ms = _cause(line, curve)
            fixed_ms = float(curve["fixed_ms"]) if cause == "fixed" else None
            ended_batch = int(curve["largest_batch"]) if curve["ended_early"] else None
            found.append(
                Departure(
                    label_of(contender), size, top, share, low, high, cause, line, enqueue_ms, fixed_ms, ended_batch
                )
            )
    return sorted(found, key=lambda each: each.share)


def _best_cells(study: Study) -> dict[str, dict[int, tuple[dict[str, Any], Cell]]]:
    """By contender and ascending size: the summary's line at the best batch, and its cell."""
    found: dict[str, dict[int, tuple[dict[str, Any], Cell]]] = {}
    if study.ranked.empty:
        return found
    best = study.ranked.loc[study.ranked.groupby(["contender", "image_size"])["fps"].idxmax()]
    for line in lines(best.sort_values(["contender", "image_size"])):
        found.setdefault(line["contender"], {})[int(line["image_size"])] = (line, study.cells[key_of(line)])
    return found


def _cause(line: dict[str, Any], curve: pd.Series) -> tuple[str, float | None]:
    """What the rows say of a cell that does fewer pixels than it could, and the host's time to enqueue it."""
    enqueue = line.get("enqueue_ms")
    known = float(enqueue) if isinstance(enqueue, (int, float)) and np.isfinite(enqueue) else None
    if line["limiter"] == "launch-bound":
        return "launch", known
    if curve["batches"] > 1 and not curve["reached"]:
        return "growing", known
    if curve["no_fit"] == "" and line["fps"] < (1 - TOLERANCE) * curve["peak_fps"]:
        return "fixed", known
    limiter = line["limiter"] if isinstance(line["limiter"], str) else ""
    return limiter.removesuffix("-bound") or "unknown", known


def _slopes(sizes: Sequence[int], fps: Sequence[stats.Array]) -> stats.Array:
    """Exponent k of FPS ~ size^-k by least squares of logarithms, for each draw: `fps` (n sizes) of (draws,)."""
    side = np.log(np.array(sizes, dtype=float))
    centred = side - side.mean()
    return np.asarray(-(centred / np.sum(centred**2)) @ np.log(np.stack(fps)))


def _small_exponent(table: pd.DataFrame, contender: str) -> float:
    batch = small_batch(table)
    part = table[(table["contender"] == contender) & (table["batch_size"] == batch)]
    if len(part) < 2:
        return float("nan")
    return float(_slopes(list(part["image_size"]), [np.array([fps]) for fps in part["fps"]])[0])
