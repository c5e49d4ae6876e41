"""The GPU's telemetry of a job over time: telemetry.jsonl of a run's folder, and its charts in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from tensorboard.plugins.scalar import summary_v2 as scalar

from analysis.events import Item
from analysis.findings import Line

Series = dict[str, Any]  # columns by name, as harness.gpu_samples.make_series gives them
Place = tuple[str, int, int]  # contender, image size, batch size
TIMES = {"at_s", "gpm_at_s"}


def read_series(folder: Path) -> dict[Place, Series]:
    """The latest series of each cell; empty for a run without telemetry. A half line (killed writer) is skipped."""
    path = folder / "telemetry.jsonl"
    found: dict[Place, Series] = {}
    if not path.is_file():
        return found
    with path.open("rb") as file:
        for line in file:
            try:
                series = orjson.loads(line)
                job = series["job"]
                contender = f"{job['backend']}/{job['variant']}/{job['precision']}"
                found[contender, int(job["image_size"]), int(job["batch_size"])] = series
            except (ValueError, TypeError, KeyError):
                continue
    return found


def series_items(best: Sequence[Line], series: Mapping[Place, Series]) -> dict[str, list[Item]]:
    """By contender: charts over milliseconds of its job at its best batch, one per reading and image size.

    Best batches alone: a chart then has one line per contender, and a run of any length a bounded number of points.
    """
    found: dict[str, list[Item]] = {}
    for line in best:
        place = (line["contender"], int(line["image_size"]), int(line["batch_size"]))
        found.setdefault(place[0], []).extend(_charts(series.get(place, {}), f"{place[1]}_px_at_best_batch"))
    return found


def _charts(series: Series, chart: str) -> list[Item]:
    items = []
    for name, values in series.items():
        times = series.get("gpm_at_s" if name.endswith("_activity_percent") else "at_s")
        if name in TIMES or not isinstance(values, list) or not times or len(times) != len(values):
            continue
        for at_s, value in zip(times, values, strict=True):
            if value is not None:
                summary = scalar.scalar_pb(f"telemetry_{name}_over_ms/{chart}", float(value))
                items.append(Item(round(1000 * at_s), summary, at_s))
    return items
