"""How right each contender can be expected to be: weights judged by validation images, precisions by their outputs."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.cells import RANKED
from analysis.load import Run


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers, 0..1, over `images` images (None: not recorded)."""

    share: float
    images: int | None


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Share of right answers, 0..1, to expect from one contender at one image size.

    `error` is the standard error from the images that judged the weights, which all contenders of a size share;
    `loss_error` that of what the contender's precision loses against fp32.
    """

    image_size: int
    share: float
    error: float
    loss_error: float


def size_accuracies(run: Run, sizes: Collection[int]) -> tuple[str | None, dict[int, Accuracy]]:
    """Accuracy of the fp32 network at each of `sizes`, and its source; (None, {}) unless one source knows them all."""
    validation = {size: found for size in sizes if (found := _recorded(run.weights.get(size, {})))}
    if sizes and len(validation) == len(sizes):
        return "validation", validation
    reference = reference_accuracies(run)
    return ("reference", reference) if sizes and set(sizes) <= set(reference) else (None, {})


def reference_accuracies(run: Run) -> dict[int, Accuracy]:
    """Best accuracy of fp32 outputs on the reference images, by image size."""
    found: dict[int, Accuracy] = {}
    for row in run.rows:
        if row.job.precision == "fp32" and row.status in RANKED and row.parity and row.parity.accuracy is not None:
            judged = Accuracy(row.parity.accuracy, row.parity.images)
            found[row.job.image_size] = max(found.get(row.job.image_size, judged), judged, key=lambda a: a.share)
    return found


def expected_accuracies(run: Run, table: pd.DataFrame) -> dict[tuple[str, int], ExpectedAccuracy]:
    """By contender and image size, for the ranked lines of the summary `table` whose outputs were judged.

    Where training recorded every size: its validation accuracy, less what the contender's outputs lose against fp32 on
    the same reference images (a paired difference). Otherwise the accuracy of the outputs on the reference images.
    """
    ranked = table[table["ranked"].astype(bool) & pd.to_numeric(table["accuracy"]).notna()]
    sizes = {int(size) for size in table.loc[table["ranked"].astype(bool), "image_size"]}
    (source, weights), fp32 = size_accuracies(run, sizes), reference_accuracies(run)
    paired = source == "validation" and sizes <= set(fp32)
    found = {}
    for line in ranked.drop_duplicates(["contender", "image_size"]).to_dict("records"):
        size, share, images = int(line["image_size"]), float(line["accuracy"]), line["parity_images"]
        if paired:
            judged = weights[size]
            share = min(1.0, max(0.0, judged.share + share - fp32[size].share))
        else:
            judged = Accuracy(share, images)
        loss_error = _paired_error(line["top1_agreement"], images)
        found[(str(line["contender"]), size)] = ExpectedAccuracy(size, share, _binomial_error(judged), loss_error)
    return found


def _recorded(record: dict[str, Any]) -> Accuracy | None:
    """Validation accuracy in a training record; None when it holds none that can be."""
    share, data = record.get("accuracy"), record.get("data")
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        return None
    images = data.get("val_images") if isinstance(data, dict) else None
    return Accuracy(float(share), images if isinstance(images, int) and images > 0 else None)


def _binomial_error(judged: Accuracy) -> float:
    return math.sqrt(judged.share * (1 - judged.share) / judged.images) if judged.images else 0.0


def _paired_error(agreement: Any, images: Any) -> float:
    """Only images whose top class differs from fp32's can change the accuracy: at most 1 - agreement of them do."""
    if not images or agreement is None or pd.isna(agreement):
        return 0.0
    return math.sqrt(max(0.0, 1 - float(agreement)) / images)
