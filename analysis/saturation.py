"""Where more images per batch stop paying: the saturation batch per contender and image size, and a fitted curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import Cell, Key
from analysis.fit import Fit, fit_batches
from analysis.stats import Array

TOLERANCE = 0.05  # within 5% of the best images per second
ENDED = "`saturation_percent`"  # in the reason of rows that the harness skipped, as batches no longer raised FPS

FITTED = ("peak_fps", "knee_batch", "plateau_batch", "overlap", "fixed_ms")
INTERVALS = ("peak", "knee", "plateau")
COLUMNS = [
    "contender", "image_size", "batches", "saturation_batch", "low", "high", "reached", "ended_early",
    "best_batch", "best_fps", "saturation_fps", "smallest_batch", "largest_batch", "underfed_ratio", "underfed_low",
    "underfed_high", "saturation_p99_ms", "best_p99_ms", "p99_ratio", *FITTED, *(f"{name}_{end}" for name in INTERVALS
    for end in ("low", "high")), "fit_error", "no_fit",
]  # fmt: skip


def saturation_batch(batches: Array, fps: Array) -> Array:
    """Smallest batch whose FPS is within 5% of the best. `batches` (n,) ascending, `fps` (..., n); answers (...)."""
    enough = fps >= (1 - TOLERANCE) * fps.max(axis=-1, keepdims=True)
    return np.asarray(batches[np.argmax(enough, axis=-1)])


def find_saturation(cells: Mapping[Key, Cell]) -> pd.DataFrame:
    """One row per contender and image size with at least one ranked cell; columns as in COLUMNS.

    `low` and `high` are the 95% interval of the saturation batch over bootstrap draws. `reached` is False when the
    largest batch measured is the saturation batch itself: FPS was still growing, or one batch only was measured.
    `ended_early`: the harness skipped what comes after the largest batch, as two in a row had hardly raised FPS; the
    best batch may be among those.
    `underfed_ratio` is ms per image at the smallest batch over ms per image at the saturation batch, with its 99%
    interval; `p99_ratio` the 99th percentile of device_ms at the best batch over that at the saturation batch.
    `no_fit` says why there is no curve (analysis.fit.NoFit); it is empty where there is one, and `fit_error` is the
    curve's error as a share.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for key in sorted(cells):
        if cells[key].ranked:
            groups.setdefault((key.contender, key.image_size), []).append(cells[key])
    ended = {(key.contender, key.image_size) for key, cell in cells.items() if _was_ended(cell)}
    rows = [{**_point(*name, group), "ended_early": name in ended} for name, group in groups.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _was_ended(cell: Cell) -> bool:
    return cell.status == "skipped" and ENDED in cell.reason


def _point(contender: str, size: int, group: list[Cell]) -> dict[str, Any]:
    batches = np.array([cell.key.batch_size for cell in group])
    times = np.array([cell.mean_ms for cell in group])
    fps = batches * 1000.0 / times
    chosen = int(saturation_batch(batches, fps))
    at, best = int(np.flatnonzero(batches == chosen)[0]), int(np.argmax(fps))
    low = high = chosen
    draws = np.stack([cell.draws for cell in group], axis=1)
    if np.all(np.isfinite(draws)):
        drawn = saturation_batch(batches, batches / draws)
        low, high = (int(v) for v in np.quantile(drawn, [0.025, 0.975], method="inverted_cdf"))
    underfed = stats.ratio_interval(draws[:, 0] * batches[at], draws[:, at] * batches[0]) if at else (1.0, 1.0)
    p99 = [float(np.percentile(group[i].samples, 99)) for i in (at, best)]
    return {
        "contender": contender,
        "image_size": size,
        "batches": len(batches),
        "saturation_batch": chosen,
        "low": low,
        "high": high,
        "reached": len(batches) > 1 and chosen < batches[-1],
        "best_batch": int(batches[best]),
        "best_fps": float(fps[best]),
        "saturation_fps": float(fps[at]),
        "smallest_batch": int(batches[0]),
        "largest_batch": int(batches[-1]),
        "underfed_ratio": float(fps[at] / fps[0]),
        "underfed_low": underfed[0],
        "underfed_high": underfed[1],
        "saturation_p99_ms": p99[0],
        "best_p99_ms": p99[1],
        "p99_ratio": p99[1] / p99[0],
        **_curve(batches.astype(float), times, draws),
    }


def _curve(batches: Array, times: Array, draws: Array) -> dict[str, Any]:
    found = fit_batches(batches, times, draws, TOLERANCE)
    if not isinstance(found, Fit):
        return {"fit_error": found.error, "no_fit": found.reason}
    values = asdict(found)
    ends = {f"{name}_{end}": values[name][i] for name in INTERVALS for i, end in enumerate(("low", "high"))}
    return {**{name: values[name] for name in FITTED}, **ends, "fit_error": found.error, "no_fit": ""}
