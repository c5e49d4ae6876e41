"""What batch size and image size do, for the report: best batches, fitted curves, the pixel law, accuracy's price."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from analysis import effects, pixels
from analysis.accuracy import Accuracy
from analysis.findings import Line, find_fastest, lines
from analysis.names import label_of
from analysis.pareto import exceeds, latency_column
from analysis.saturation import TOLERANCE
from analysis.study import Study

MOST_DEPARTURES = 5


def scaling_facts(study: Study, image_size: int | None) -> dict[str, Any]:
    """`batching` and `sizing` for the partial templates; `image_size` is the one the report recommends."""
    points = [{**point, "label": label_of(point["contender"])} for point in lines(study.saturation)]
    ended = [point for point in points if point["ended_early"]]
    return {"batching": _batching(study, points, image_size), "sizing": {**_sizing(study), "ended": ended}}


def _batching(study: Study, points: list[Line], image_size: int | None) -> dict[str, Any]:
    several = [point for point in points if point["batches"] > 1]
    here = [point for point in several if point["image_size"] == image_size]
    fitted = [point for point in here if point["no_fit"] == ""]
    starved = [point for point in several if point["underfed_low"] > 1 + TOLERANCE]
    smallest = min((point["smallest_batch"] for point in several), default=None)
    starved = sorted((p for p in starved if p["smallest_batch"] == smallest), key=lambda p: p["underfed_ratio"])
    optimal = _optimal(study, several)
    told = [
        point for point in optimal if (point["low"], point["high"]) != (point["smallest_batch"], point["largest_batch"])
    ]
    return {
        "optimal": optimal,
        "told": told,
        "hidden": [point["image_size"] for point in optimal if point not in told],
        "size": image_size,
        "fitted": sorted(fitted, key=lambda point: -point["peak_fps"]),
        "unfitted": [point for point in here if point["no_fit"] != ""],
        "reasons": sorted(Counter(point["no_fit"] for point in several if point["no_fit"] != "").items()),
        "curves": sum(point["no_fit"] == "" for point in several),
        "pairs": len(several),
        "smallest_batch": smallest,
        "starved": len(starved),
        "hungriest": starved[-1] if starved else None,
        "least_hungry": starved[0] if len(starved) > 1 else None,
        "waiting": _waiting(study.ranked, starved[-1]) if starved else None,
        "launch": _launch(study.ranked, smallest),
    }


def _optimal(study: Study, points: list[Line]) -> list[Line]:
    """For each image size the saturation of the approach that is fastest there."""
    found = []
    for size in effects.image_sizes(study):
        winner = find_fastest(study, size)
        contender = winner.cell["contender"] if winner else None
        found += [point for point in points if (point["contender"], point["image_size"]) == (contender, size)]
    return found


def _waiting(table: pd.DataFrame, point: Line) -> dict[str, float] | None:
    """Host time to enqueue the smallest batch, and the device's time for it; None where it was not recorded."""
    cell = table[(table["contender"] == point["contender"]) & (table["image_size"] == point["image_size"])]
    (line,) = lines(cell[cell["batch_size"] == point["smallest_batch"]])
    enqueue_ms = pd.to_numeric(line.get("enqueue_ms"))
    if enqueue_ms is None or pd.isna(enqueue_ms):
        return None
    return {"enqueue_ms": float(enqueue_ms), "mean_ms": float(line["mean_ms"])}


def _launch(table: pd.DataFrame, batch: int | None) -> dict[str, int] | None:
    """How many cells at the smallest batch wait for the host; None where the limiter is not known."""
    known = table["limiter"].map(lambda name: isinstance(name, str) and name != "").astype(bool)
    here = table[known & (table["batch_size"] == batch)]
    return {"cells": len(here), "bound": int((here["limiter"] == "launch-bound").sum())} if len(here) else None


def _sizing(study: Study) -> dict[str, Any]:
    sizes = effects.image_sizes(study)
    gone = pixels.departures(study)
    source, known = effects.size_accuracies(study)
    return {
        "rates": pixels.pixel_rates(study, sizes),
        "small_batch": pixels.small_batch(study.ranked),
        "departures": gone[:MOST_DEPARTURES],
        "further": max(0, len(gone) - MOST_DEPARTURES),
        "causes": Counter(each.cause for each in gone).most_common(),
        "source": source,
        "prices": _prices(study, known),
        "fps_front": _front(study, "fps_front", "fps"),
        "latency_front": _front(study, "latency_front", latency_column(study.ranked)),
    }


def _prices(study: Study, known: dict[int, Accuracy]) -> list[dict[str, Any]]:
    """Each size with its accuracy (Wilson's 95% interval) and what the fastest approach there gives."""
    found: list[dict[str, Any]] = []
    for size in sorted(known):
        winner = find_fastest(study, size)
        if winner is None:
            continue
        share, images = known[size].share, known[size].images
        wilson = binomtest(round(share * images), images).proportion_ci(method="wilson") if images else None
        fps = float(winner.cell["fps"])
        found.append(
            {
                "size": size,
                "accuracy": share,
                "low": wilson.low if wilson else None,
                "high": wilson.high if wilson else None,
                "line": winner.cell,
                "share": fps / found[0]["line"]["fps"] if found else 1.0,
            }
        )
    return found


def _front(study: Study, column: str, value: str) -> dict[str, Any]:
    """The lines on a front, most accurate first, and how many there were to choose from."""
    chosen = study.ranked[study.ranked[column].notna()]
    front = chosen[chosen[column].map(lambda on: on is True).astype(bool)]
    ordered = lines(front.sort_values(["expected_accuracy", value], ascending=[False, value != "fps"], kind="stable"))
    for line in ordered:
        line["tied"] = any(exceeds(other, line, value) for other in ordered)
    return {"lines": ordered, "candidates": len(chosen), "value": value}
