"""Options: the measured cells of a run as things to deploy, with every number that a need or objective speaks of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import stats
from analysis.accuracy import reference_accuracies
from analysis.cells import RANKED, Cell, Key
from analysis.effects import size_accuracies
from analysis.findings import Line, key_of, lines
from analysis.study import Study

ENERGY = "energy_j_per_image"
GPU_MEMORY = ("gpu_process_memory_mb", "gpu_memory_mb")  # the whole process before the library's own allocator


@dataclass(frozen=True)
class Option:
    """One ranked cell. None: not recorded. Accuracies are shares 0..1.

    `accuracy` is that of the fp32 network at this image size less `accuracy_drop`, what this cell's own answers lose
    against fp32 on the reference images (at most the share of images whose top class changed, where labels are
    unknown). A gain is no drop. On a CPU `gpu_memory_mb` is 0.
    """

    key: Key
    cell: Cell
    label: str
    fps: float
    host_ms: float | None
    energy: float | None
    accuracy: float | None
    accuracy_drop: float | None
    parity_images: int | None
    gpu_memory_mb: float | None
    cpu_memory_mb: float | None
    build_s: float

    def value(self, objective: str) -> float | None:
        """The number that an objective ranks by: images per second, ms of a call, J per image."""
        return {"fps": self.fps, "host_ms": self.host_ms, "energy": self.energy}[objective]

    def draws(self, objective: str) -> stats.Array:
        """Bootstrap draws of that number, shape (draws,); NaN where nothing tells how far it varies.

        Energy is one number a round: without several rounds it has no interval.
        """
        if objective == "fps":
            return self.cell.fps_draws()
        if objective == "host_ms" and self.host_ms is not None:
            return self.cell.host_draws()
        rounds = _energies(self.cell) if objective == "energy" else []
        if not rounds:
            return np.full(stats.DRAWS, np.nan)
        return stats.bootstrap_location(rounds, self.cell.make_rng(objective), spread=self.cell.spread)

    def interval(self, objective: str) -> stats.Interval:
        """95% interval of `value`."""
        return stats.percentile_interval(self.draws(objective))


def build_options(study: Study) -> tuple[list[Option], str | None]:
    """Every ranked cell, in the cells' order, and where accuracies come from.

    That is `validation` (training's record of each size), `reference` (the fp32 network on the reference images),
    `own` (each cell's own answers on them: nothing tells of fp32 at some size) or None: nothing is known.
    """
    source, known = size_accuracies(study)
    table = lines(study.ranked)
    full = {size: judged.share for size, judged in reference_accuracies(study.run).items()}
    options = [_option(line, study.cells[key_of(line)], full, known) for line in table]
    if source is None and any(option.accuracy is not None for option in options):
        source = "own"
    return options, source


def _option(line: Line, cell: Cell, full: Mapping[int, float], known: Mapping[int, Any]) -> Option:
    size = line["image_size"]
    drop = _drop(line, full.get(size))
    accuracy = _number(line["accuracy"])
    if size in known:
        accuracy = max(0.0, known[size].share - drop) if drop is not None else None
    memory = 0.0 if line["clock"] == "cpu" else next((m for n in GPU_MEMORY if (m := _number(line.get(n)))), None)
    images = _number(line["parity_images"])
    return Option(
        key=cell.key,
        cell=cell,
        label=line["label"],
        fps=float(line["fps"]),
        host_ms=_number(line["host_ms"]),
        energy=_number(line.get(ENERGY)),
        accuracy=accuracy,
        accuracy_drop=drop,
        parity_images=int(images) if images else None,
        gpu_memory_mb=memory,
        cpu_memory_mb=_number(line["cpu_memory_mb"]),
        build_s=(_number(line["build_ms"]) or 0.0) / 1000,
    )


def _drop(line: Line, full: float | None) -> float | None:
    own, same = _number(line["accuracy"]), _number(line["top1_agreement"])
    if own is not None and full is not None:
        return max(0.0, full - own)
    return None if same is None else 1.0 - same


def _energies(cell: Cell) -> list[stats.Array]:
    values = (_number(row.telemetry.get(ENERGY)) for row in cell.rows if row.status in RANKED)
    return [np.array([value]) for value in values if value]


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
