"""Who is fastest, and by how much: answers computed from a study, ready for a sentence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import stats
from analysis.cells import Cell, Key, ratio_interval
from analysis.study import Study
from harness.schema import BASELINE

Line = dict[str, Any]  # one line of the summary table, by column


@dataclass(frozen=True)
class Rival:
    """The best cell of a contender that did not win. `margin`: its time over the winner's, with 99% interval."""

    line: Line
    margin: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Winner:
    """The best cell of a group, and what comes next: `closest` of all others, `runner_up` of another library.

    `ties`: everyone whom the run cannot tell from the winner, best first; not only the closest may be among them, as
    the time of another may be known less well.
    """

    cell: Line
    closest: Rival | None = None
    runner_up: Rival | None = None
    ties: tuple[Rival, ...] = ()

    @property
    def further_ties(self) -> list[Rival]:
        """Those that the winner's own verdict, which is against the baseline at the same batch, does not tell."""
        told = self.cell["verdict"] == "tie"
        return [rival for rival in self.ties if not (told and rival.line["contender"] == "/".join(BASELINE))]


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


def best_per_library(best: Sequence[Line], image_size: int, others: Collection[str] = ()) -> list[Line]:
    """Of `best` (fastest first), each library's first line at `image_size`, the baseline's and those of `others`."""
    chosen: list[Line] = []
    wanted = {"/".join(BASELINE), *others}
    for line in (line for line in best if line["image_size"] == image_size):
        if line["backend"] not in {found["backend"] for found in chosen} or line["contender"] in wanted:
            chosen.append(line)
    return chosen


def find_fastest(study: Study, image_size: int, precision: str | None = None) -> Winner | None:
    """Most images per second at `image_size` over all batches, optionally among one precision."""
    table = study.ranked
    table = table[table["image_size"] == image_size]
    if precision is not None:
        table = table[table["precision"] == precision]
    return _winner(study, table, "ms_per_image", _image_interval)


def find_quickest(study: Study, image_size: int) -> Winner | None:
    """Least latency at `image_size` and the smallest batch tried: host_ms where every cell has it, else device_ms."""
    table = study.ranked
    table = table[table["image_size"] == image_size]
    table = table[table["batch_size"] == table["batch_size"].min()]
    if table.empty:
        return None
    if pd.to_numeric(table["host_ms"]).notna().all():
        return _winner(study, table, "host_ms", _host_interval)
    return _winner(study, table, "mean_ms", ratio_interval)


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


def _image_interval(numerator: Cell, denominator: Cell) -> stats.Interval:
    """Of the ratio of two cells' times per image."""
    scale = denominator.key.batch_size / numerator.key.batch_size
    low, high = ratio_interval(numerator, denominator)
    return scale * low, scale * high


def _host_interval(numerator: Cell, denominator: Cell) -> stats.Interval:
    return stats.ratio_interval(numerator.host_draws(), denominator.host_draws())


def _winner(
    study: Study, table: pd.DataFrame, time: str, find_interval: Callable[[Cell, Cell], stats.Interval]
) -> Winner | None:
    """The line with the least of column `time`, against the best line of every other contender."""
    best: dict[str, Line] = {}
    for line in lines(table.sort_values(time, kind="stable")):
        best.setdefault(line["contender"], line)
    if not best:
        return None
    first, *others = best.values()

    def judge(line: Line) -> Rival:
        low, high = find_interval(study.cells[key_of(line)], study.cells[key_of(first)])
        return Rival(line, line[time] / first[time], low, high, stats.verdict((low, high)))

    rivals = [judge(line) for line in others]
    return Winner(
        first,
        closest=rivals[0] if rivals else None,
        runner_up=next((rival for rival in rivals if rival.line["backend"] != first["backend"]), None),
        ties=tuple(rival for rival in rivals if rival.verdict == "tie"),
    )


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
