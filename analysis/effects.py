"""What image size and batch size do: the pixel-count law, the size to choose, the load on the processor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis import accuracy
from analysis.accuracy import Accuracy
from analysis.findings import Line
from analysis.names import label_of
from analysis.study import Study


@dataclass(frozen=True)
class Scaling:
    """FPS of one contender over image sizes at one batch. `exponent` k of FPS ~ size^-k (2 is the pixel-count law).

    `pixel_rate` is FPS x size^2 at the largest size over the same at the smallest: 1 under the law, more when small
    images leave the processor under-fed.
    """

    label: str
    fps: list[float]  # one per Study size, NaN where not measured
    exponent: float
    pixel_rate: float


@dataclass(frozen=True)
class SizeChoice:
    """The image size to use: the smallest whose accuracy is not significantly below the best one's.

    `basis` says what the choice rests on: `accuracy`, `one size`, or `speed` when no accuracies are known. `source` is
    where accuracies come from: `validation` (training's record) or `reference` (fp32 outputs on the reference images).
    """

    image_size: int
    basis: str
    accuracy: float | None = None
    best_size: int | None = None
    best_accuracy: float | None = None
    images: int | None = None
    source: str | None = None


def image_sizes(study: Study) -> list[int]:
    """Sizes with at least one ranked cell, ascending."""
    return sorted(int(size) for size in set(study.ranked["image_size"]))


def law_batch(study: Study) -> int | None:
    """The batch at which sizes are compared: the largest with the most cells measured at two sizes or more."""
    table = study.ranked
    counts = table.groupby(["batch_size", "contender"])["image_size"].nunique()
    complete = counts[counts >= 2].groupby("batch_size").sum()
    if complete.empty:
        return None
    return int(max(complete[complete == complete.max()].index))


def size_scaling(study: Study, batch: int) -> list[Scaling]:
    """How FPS falls with image size at `batch`, for contenders measured at two sizes or more."""
    sizes = image_sizes(study)
    table = study.ranked
    found = []
    for contender, part in table[table["batch_size"] == batch].groupby("contender", sort=True):
        fps = part.set_index("image_size")["fps"].reindex(sizes).to_numpy(float)
        known = np.isfinite(fps)
        if known.sum() < 2:
            continue
        side = np.array(sizes, dtype=float)[known]
        slope = np.polyfit(np.log(side), np.log(fps[known]), 1)[0]
        rate = fps[known] * side**2
        found.append(Scaling(label_of(str(contender)), fps.tolist(), float(-slope), float(rate[-1] / rate[0])))
    return sorted(found, key=lambda item: -np.nanmax(item.fps))


def choose_size(study: Study) -> SizeChoice | None:
    """The best image size for this case; None when nothing was measured.

    Two accuracies are told apart by a two-sided test of proportions at 95% (unpaired, so cautious: the images are the
    same).
    """
    sizes = image_sizes(study)
    if not sizes:
        return None
    source, known = size_accuracies(study)
    if len(sizes) == 1:
        only = known.get(sizes[0])
        return SizeChoice(sizes[0], "one size", only.share if only else None, source=source)
    if source is None:
        return SizeChoice(sizes[0], "speed")
    best = max(sizes, key=lambda size: (known[size].share, -size))
    chosen = next(size for size in sizes if not _below(known[size], known[best]))
    return SizeChoice(chosen, "accuracy", known[chosen].share, best, known[best].share, known[best].images, source)


def size_accuracies(study: Study) -> tuple[str | None, dict[int, Accuracy]]:
    """Accuracy of the fp32 network per measured size, and its source; see analysis.accuracy."""
    return accuracy.size_accuracies(study.run, image_sizes(study))


def _below(judged: Accuracy, best: Accuracy) -> bool:
    if judged.images is None or best.images is None:
        return judged.share < best.share
    error = math.sqrt(sum(each.share * (1 - each.share) / each.images for each in (judged, best) if each.images))
    return best.share - judged.share > float(norm.ppf(0.975)) * error


@dataclass(frozen=True)
class Load:
    """How busy the processor was in one cell. None or NaN: not recorded."""

    line: Line
    threads: int | None
    worker_cpu_percent: float | None
    core_share: float | None  # worker CPU time over the threads it may use, 0..1
    gpu_utilization_percent: float | None
    tflops_per_s: float


def load_of(study: Study, line: Line) -> Load:
    """The load that telemetry and FLOP counts show for a line of the summary."""
    rows = [row for row in study.run.rows if row.job.contender == line["contender"]]
    rows = [r for r in rows if (r.job.image_size, r.job.batch_size) == (line["image_size"], line["batch_size"])]
    asked = next((row.options["threads"] for row in rows if isinstance(row.options.get("threads"), int)), None)
    cpu = study.run.machine.get("cpu")
    cores = cpu.get("usable_cores", cpu.get("physical_cores")) if isinstance(cpu, dict) else None
    threads = asked or (cores if isinstance(cores, int) else None)
    busy = _number(line.get("worker_cpu_percent"))
    share = busy / 100 / threads if busy is not None and threads else None
    return Load(line, threads, busy, share, _number(line.get("gpu_utilization_percent")), float(line["tflops_per_s"]))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not pd.isna(value) else None
