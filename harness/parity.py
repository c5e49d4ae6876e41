"""Does a backend answer what it should, in the precision it says? Tolerances in one table; NumPy only (workers).

A second net under each backend's own evidence: reduced precision leaves a fingerprint in the logits. Answers too far
from the fp32 reference are wrong; answers *as near as fp32* from a job labelled fp16 mean that fp16 never ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.schema import Parity


@dataclass(frozen=True)
class Tolerance:
    """Allowed relative L2 error of the logits, and the least share of images that keep their top class."""

    min_rel_l2: float
    max_rel_l2: float
    min_top1: float


# Unit round-off u: fp32 2^-24, tf32 and fp16 2^-11, bf16 2^-8 (IEEE 754; NVIDIA's TF32 has fp16's 10 fraction bits).
# Errors grow through ResNet-18's 21 layers; the bands are wide (docs/decisions/precision-labels.md).
# fp32: 5e-5 lies well above re-ordered fp32 sums and below the mildest tf32 error, so TF32 in disguise fails.
# int8: post-training quantisation; the accuracy limit that matters is analysis's.
TOLERANCES = {
    "fp32": Tolerance(0.0, 5e-5, 0.99),
    "tf32": Tolerance(0.0, 1e-2, 0.97),
    "fp16": Tolerance(2e-5, 2e-2, 0.97),
    "bf16": Tolerance(2e-4, 1e-1, 0.95),
    "int8": Tolerance(1e-3, 3e-1, 0.85),
}


def compare_logits(logits: np.ndarray, reference: np.ndarray, labels: np.ndarray | None) -> Parity:
    """Compare logits (images, classes) with fp32 reference logits of the same shape; labels (images,) or None.

    Raises ValueError when shapes differ or a logit is not finite.
    """
    if logits.shape != reference.shape:
        raise ValueError(f"logits have shape {logits.shape}, the reference has {reference.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits are not finite (overflow or NaN)")
    difference = logits.astype(np.float64) - reference.astype(np.float64)
    top = logits.argmax(axis=1)
    return Parity(
        images=len(logits),
        max_abs=float(np.abs(difference).max()),
        rel_l2=float(np.linalg.norm(difference) / np.linalg.norm(reference.astype(np.float64))),
        top1_agreement=float((top == reference.argmax(axis=1)).mean()),
        accuracy=None if labels is None else float((top == labels).mean()),
    )


# What a library may report as the input type of a convolution or matrix product, for each label.
COMPUTE_DTYPES = {
    "fp32": {"f32", "fp32", "float32"},
    "tf32": {"f32", "fp32", "float32", "tf32"},
    "fp16": {"f16", "fp16", "float16"},
    "bf16": {"bf16", "bfloat16"},
    "int8": {"s8", "u8", "i8", "int8", "uint8"},
}


def find_contradiction(executed: dict[str, Any], precision: str) -> str:
    """Why the evidence of what ran contradicts the label; empty when it does not.

    `executed["compute_dtypes"]` counts the input types of convolutions and matrix products, where the library tells.
    fp32 must be pure; a reduced precision must be that of nine layers in ten (a first or last one may be kept in fp32).
    """
    if precision == "fp32" and executed.get("tf32"):
        return "labelled fp32, but TF32 was allowed"
    if executed.get("cpu_nodes"):
        return f"on the GPU, but these nodes ran on the CPU: {', '.join(executed['cpu_nodes'])}"
    if executed.get("trt_engines") == 0:
        return "there is no TensorRT engine in the module: all of it ran in PyTorch"
    found: dict[str, int] = executed.get("compute_dtypes", {})
    total = sum(found.values())
    fitting = sum(count for dtype, count in found.items() if dtype in COMPUTE_DTYPES[precision])
    if total and fitting < total * (1.0 if precision in ("fp32", "tf32") else 0.9):
        counts = ", ".join(f"{count} {dtype}" for dtype, count in sorted(found.items()))
        return f"labelled {precision}, but its compute layers ran as: {counts}"
    return ""


def find_fault(parity: Parity, precision: str) -> str:
    """Why these answers contradict the precision label; empty when they do not."""
    tolerance = TOLERANCES[precision]
    if parity.rel_l2 > tolerance.max_rel_l2:
        return f"relative L2 error {parity.rel_l2:.2g} of the logits is over {tolerance.max_rel_l2:g} ({precision})"
    if parity.rel_l2 < tolerance.min_rel_l2:
        return f"relative L2 error {parity.rel_l2:.2g} is under {tolerance.min_rel_l2:g}: {precision} did not run"
    if parity.top1_agreement < tolerance.min_top1 and parity.images * (1 - parity.top1_agreement) > 1.5:
        return (
            f"top class agrees on {parity.top1_agreement:.1%} of images, under {tolerance.min_top1:.0%} ({precision})"
        )
    return ""
