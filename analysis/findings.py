"""Who is fastest, and by how much: answers computed from a study, ready for a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import Cell, Key
from analysis.study import Study
from harness.schema import BASELINE

Line = dict[str, Any]  # one line of the summary table, by column


@dataclass(frozen=True)
class Winner:
    """The best cell of a group, and the best cell of another library in the same group.

    `margin` is how many times the runner-up's value the winner's is better, with its interval and verdict.
    """

    cell: Line
    runner_up: Line | None = None
    margin: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    verdict: str = "unknown"


@dataclass(frozen=True)
class Standing:
    """One contender against the baseline over all cells where both were measured."""

    contender: str
    label: str
    cells: int
    wins: int
    ties: int
    losses: int
    geometric_mean: float
    smallest: float
    largest: float


def key_of(line: Line) -> Key:
    """The cell that a line of the summary describes."""
    return Key(line["image_size"], line["batch_size"], line["backend"], line["variant"], line["precision"])


def lines(table: pd.DataFrame) -> list[Line]:
    """The table as one dictionary per line; missing numbers are NaN."""
    return [{str(name): value for name, value in record.items()} for record in table.to_dict("records")]


def best_per_contender(study: Study) -> list[Line]:
    """For each image size, each contender's line at its best FPS; fastest first."""
    ranked = study.ranked
    if ranked.empty:
        return []
    best = ranked.loc[ranked.groupby(["image_size", "contender"])["fps"].idxmax()]
    return lines(best.sort_values(["image_size", "fps"], ascending=[True, False], kind="stable"))


def best_per_library(best: Sequence[Line], image_size: int) -> list[Line]:
    """Of `best` (fastest first), each library's first line at `image_size`, and the baseline's."""
    chosen: list[Line] = []
    for line in (line for line in best if line["image_size"] == image_size):
        if line["backend"] not in {found["backend"] for found in chosen} or line["contender"] == "/".join(BASELINE):
            chosen.append(line)
    return chosen


def find_fastest(study: Study, image_size: int, precision: str | None = None) -> Winner | None:
    """Most images per second at `image_size` over all batches, optionally among one precision."""
    table = study.ranked
    table = table[table["image_size"] == image_size]
    if precision is not None:
        table = table[table["precision"] == precision]
    return _winner(study, table, "ms_per_image", lambda cell: 1 / cell.fps_draws())


def find_quickest(study: Study, image_size: int) -> Winner | None:
    """Least latency at `image_size` and the smallest batch tried: host_ms where every cell has it, else device_ms."""
    table = study.ranked
    table = table[table["image_size"] == image_size]
    table = table[table["batch_size"] == table["batch_size"].min()]
    if table.empty:
        return None
    if pd.to_numeric(table["host_ms"]).notna().all():
        return _winner(study, table, "host_ms", Cell.host_draws)
    return _winner(study, table, "mean_ms", lambda cell: cell.draws)


def accuracy_loss(study: Study, line: Line) -> tuple[float, Line] | None:
    """How much accuracy (0..1) a line gives up against fp32 at its image size, and the fastest line that gives up none.

    Accuracies are of the same reference images. None when nothing is given up or nothing is known.
    """
    table = study.ranked
    table = table[(table["image_size"] == line["image_size"]) & pd.to_numeric(table["accuracy"]).notna()]
    full = table[table["precision"] == "fp32"]
    if full.empty or pd.isna(line["accuracy"]):
        return None
    reference = float(full["accuracy"].max())
    loss = reference - float(line["accuracy"])
    if loss <= 1e-9:
        return None
    kept = table[pd.to_numeric(table["accuracy"]) >= reference - 1e-9]
    return loss, lines(kept.sort_values("ms_per_image", kind="stable"))[0]


def _winner(study: Study, table: pd.DataFrame, time: str, time_draws: Callable[[Cell], stats.Array]) -> Winner | None:
    """The line with the least of column `time`, against the best line of another library."""
    ordered = lines(table.sort_values(time, kind="stable"))
    if not ordered:
        return None
    first = ordered[0]
    other = next((line for line in ordered if line["backend"] != first["backend"]), None)
    if other is None:
        return Winner(first)
    mine, theirs = (time_draws(study.cells[key_of(line)]) for line in (first, other))
    interval = stats.ratio_interval(theirs, mine)
    return Winner(first, other, other[time] / first[time], *interval, verdict=stats.verdict(interval))


def standings(study: Study) -> list[Standing]:
    """Contenders by the geometric mean of their speedups, best first; the baseline itself is left out."""
    table = study.ranked
    table = table[table["verdict"].isin(["faster", "slower", "tie", "unknown"])]
    found = []
    for contender, part in table.groupby("contender", sort=True):
        speedup = part["speedup"].to_numpy(float)
        count = part["verdict"].value_counts()
        found.append(
            Standing(
                contender=str(contender),
                label=str(part["label"].iloc[0]),
                cells=len(part),
                wins=int(count.get("faster", 0)),
                ties=int(count.get("tie", 0)),
                losses=int(count.get("slower", 0)),
                geometric_mean=float(np.exp(np.mean(np.log(speedup)))),
                smallest=float(speedup.min()),
                largest=float(speedup.max()),
            )
        )
    return sorted(found, key=lambda standing: -standing.geometric_mean)


def has_baseline(study: Study) -> bool:
    """Whether PyTorch eager fp32 was measured in any cell."""
    return bool((study.ranked["contender"] == "/".join(BASELINE)).any())


@dataclass(frozen=True)
class Failure:
    """Cells of one contender that ended the same way for the same reason."""

    label: str
    status: str
    reason: str
    cells: list[tuple[int, int]]  # (image_size, batch_size)


def failures(study: Study, *, unstable: bool = False) -> list[Failure]:
    """Cells without a rank, grouped by contender, status and reason; or the unstable ones, which are ranked."""
    table = study.table
    wanted = table["status"] == "unstable" if unstable else ~table["ranked"].astype(bool)
    groups: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for line in lines(table[wanted]):
        groups.setdefault((line["label"], line["status"], line["reason"]), []).append(
            (line["image_size"], line["batch_size"])
        )
    return [Failure(*name, cells=cells) for name, cells in groups.items()]
