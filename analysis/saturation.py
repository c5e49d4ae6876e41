"""Where more images per batch stop paying: the saturation batch per contender and image size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.cells import Cell, Key
from analysis.stats import Array

TOLERANCE = 0.05  # within 5% of the best images per second

COLUMNS = [
    "contender", "image_size", "batches", "saturation_batch", "low", "high", "reached",
    "best_batch", "best_fps", "saturation_fps", "smallest_batch", "underfed_ratio",
]  # fmt: skip


def saturation_batch(batches: Array, fps: Array) -> Array:
    """Smallest batch whose FPS is within 5% of the best. `batches` (n,) ascending, `fps` (..., n); answers (...)."""
    enough = fps >= (1 - TOLERANCE) * fps.max(axis=-1, keepdims=True)
    return np.asarray(batches[np.argmax(enough, axis=-1)])


def find_saturation(cells: Mapping[Key, Cell]) -> pd.DataFrame:
    """One row per contender and image size with at least one ranked cell; columns as in COLUMNS.

    `low` and `high` are the 95% interval of the saturation batch over bootstrap draws. `reached` is False when the
    largest batch tried is the saturation batch itself: FPS was still growing, or one batch only was tried.
    `underfed_ratio` is ms per image at the smallest batch over ms per image at the saturation batch.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for key in sorted(cells):
        if cells[key].ranked:
            groups.setdefault((key.contender, key.image_size), []).append(cells[key])
    rows = [_point(contender, size, group) for (contender, size), group in groups.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _point(contender: str, size: int, group: list[Cell]) -> dict[str, object]:
    batches = np.array([cell.key.batch_size for cell in group])
    fps = batches * 1000.0 / np.array([cell.mean_ms for cell in group])
    chosen = int(saturation_batch(batches, fps))
    at = int(np.flatnonzero(batches == chosen)[0])
    low = high = chosen
    draws = np.stack([cell.fps_draws() for cell in group], axis=1)
    if np.all(np.isfinite(draws)):
        drawn = saturation_batch(batches, draws)
        low, high = (int(v) for v in np.quantile(drawn, [0.025, 0.975], method="inverted_cdf"))
    best = int(np.argmax(fps))
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
        "underfed_ratio": float(fps[at] / fps[0]),
    }
