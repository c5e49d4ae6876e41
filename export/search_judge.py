"""What a trial's samples, answers and layers say: its speed, and whether it is a right answer to the question. Pure."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from export.parity import Parity, accuracy, compare

TRIMMED = 0.1  # of the samples at either end
COMPUTE = re.compile(r"conv|gemm|matrix_?multiply|fully_?connected", re.IGNORECASE)
DTYPES = {"int8": r"int8", "fp16": r"fp16|half", "fp32": r"fp32|float"}  # as TensorRT 8.6 and 10 name them
RIGHT_SHARE = 0.9  # of the compute layers, as the harness has it: a first or last one may be kept in fp32


def rate_batches(samples_ms: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Batch size -> trimmed mean and standard deviation (ms per inference), number of samples, images per second."""
    rated = {}
    for batch_size, samples in samples_ms.items():
        mean_ms = float(trim_mean(samples, TRIMMED))
        rated[batch_size] = {
            "mean_ms": mean_ms,
            "std_ms": statistics.pstdev(samples),
            "samples": len(samples),
            "images_per_s": int(batch_size) * 1000 / mean_ms,
        }
    return rated


def judge_answers(
    answers: Mapping[str, NDArray[np.float32]],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    precision: str,
) -> dict[str, Any]:
    """`parity` of the batch size that is farthest from the reference, `accuracy` there, and `reason` if it fails.

    `answers`: logits (n, classes) of the reference's first n images for each batch size; `labels` None: synthetic
    images, whose top class and accuracy mean nothing.
    """
    distances = {size: compare(logits, reference[: len(logits)]) for size, logits in answers.items()}
    worst = max(distances, key=lambda size: (_badness(distances[size]), len(answers[size])))
    parity, logits = distances[worst], answers[worst]
    known = {name: value if math.isfinite(value) else None for name, value in asdict(parity).items()}
    failure = parity.failure(precision, natural=labels is not None)
    return {
        "parity": known,
        "accuracy": None if labels is None else accuracy(logits, labels[: len(logits)]),
        "reason": f"at batch {worst}: {failure}" if failure else None,
    }


def _badness(parity: Parity) -> float:
    return parity.rel_l2 if math.isfinite(parity.rel_l2) else math.inf


def count_layers(layers: Sequence[Any]) -> dict[str, dict[str, int]]:
    """`compute_dtypes`: first input's type of convolutions and matrix products; `layer_types`: how many of each kind.

    Of the engine inspector's layers (the developer guide's "Engine Inspector"); empty where it tells names only.
    """
    told = [layer for layer in layers if isinstance(layer, dict) and "LayerType" in layer]
    computing = [layer for layer in told if COMPUTE.search(f"{layer['LayerType']} {layer.get('ParameterType', '')}")]
    return {
        "compute_dtypes": dict(sorted(Counter(map(_find_dtype, computing)).items())),
        "layer_types": dict(sorted(Counter(layer["LayerType"] for layer in told).items())),
    }


def _find_dtype(layer: dict[str, Any]) -> str:
    first = {name: value for name, value in (layer.get("Inputs") or [{}])[0].items() if name != "Name"}
    # 8.6 does not tell the inputs' types of a dynamic batch
    for text in (str(first), str(layer.get("Weights", "")), str(layer.get("ConvWeights", ""))):
        for name, words in DTYPES.items():
            if re.search(words, text, re.IGNORECASE):
                return name
    return "unknown"


def find_contradiction(compute_dtypes: Mapping[str, int], precision: str) -> str | None:
    """Why the engine's layers are not of the precision that was asked for; None when they are, or are not told."""
    total = sum(compute_dtypes.values())
    if compute_dtypes.get(precision, 0) >= RIGHT_SHARE * total:
        return None
    counts = ", ".join(f"{count} {dtype}" for dtype, count in compute_dtypes.items())
    return f"compute layers ran as {counts}, not {precision}"
