"""Contenders against the baseline over all cells where both were measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.findings import lines
from analysis.study import Study
from harness.schema import BASELINE

Pair = tuple[int, int]  # image size in px, batch size


@dataclass(frozen=True)
class Standing:
    """One contender. `wins`, `ties` and `losses` are of all its `cells`.

    `geometric_mean`, `smallest` and `largest` speedup leave out launch-bound baselines, and are NaN where there is no
    other; an extreme rests on noise where its baseline was unstable. See DoubtfulBaselines.
    """

    contender: str
    label: str
    cells: int
    wins: int
    ties: int
    losses: int
    geometric_mean: float
    smallest: float
    largest: float
    smallest_rests_on_noise: bool
    largest_rests_on_noise: bool


@dataclass(frozen=True)
class DoubtfulBaselines:
    """Where a speedup says something else than how good a contender is.

    `launch`: the baseline waits for the host, so a slow host makes every contender look good; this biases means too.
    `unstable`, of the others: its noise averages out of a mean, but extremes are picked from it.
    """

    launch: frozenset[Pair]
    unstable: frozenset[Pair]

    @property
    def pairs(self) -> frozenset[Pair]:
        """All of them."""
        return self.launch | self.unstable


def find_doubtful_baselines(study: Study) -> DoubtfulBaselines:
    """Image sizes and batches at which something was compared with a launch-bound or unstable baseline."""
    compared = set(_pairs(_compared(study.ranked)))
    found = study.ranked[study.ranked["contender"] == "/".join(BASELINE)]
    launch = compared & set(_pairs(found[found["limiter"] == "launch-bound"]))
    unstable = compared & set(_pairs(found[found["status"] == "unstable"]))
    return DoubtfulBaselines(frozenset(launch), frozenset(unstable - launch))


def find_standings(study: Study) -> list[Standing]:
    """Contenders by the geometric mean of their speedups, best first; the baseline itself is left out."""
    doubtful = find_doubtful_baselines(study)
    table = _compared(study.ranked)
    found = [_standing(str(contender), part, doubtful) for contender, part in table.groupby("contender", sort=True)]
    return sorted(found, key=lambda each: math.inf if math.isnan(each.geometric_mean) else -each.geometric_mean)


def _standing(contender: str, part: pd.DataFrame, doubtful: DoubtfulBaselines) -> Standing:
    count = part["verdict"].value_counts()
    speedups = zip(part["speedup"].astype(float), _pairs(part), strict=True)
    kept = sorted((speedup, pair) for speedup, pair in speedups if pair not in doubtful.launch)
    smallest, largest = (kept[0], kept[-1]) if kept else ((math.nan, None),) * 2
    return Standing(
        contender=contender,
        label=str(part["label"].iloc[0]),
        cells=len(part),
        wins=int(count.get("faster", 0)),
        ties=int(count.get("tie", 0)),
        losses=int(count.get("slower", 0)),
        geometric_mean=float(np.exp(np.mean(np.log([speedup for speedup, _ in kept])))) if kept else math.nan,
        smallest=smallest[0],
        largest=largest[0],
        smallest_rests_on_noise=smallest[1] in doubtful.unstable,
        largest_rests_on_noise=largest[1] in doubtful.unstable,
    )


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["verdict"].isin(["faster", "slower", "tie", "unknown"])]


def _pairs(table: pd.DataFrame) -> list[Pair]:
    return [(line["image_size"], line["batch_size"]) for line in lines(table[["image_size", "batch_size"]])]
