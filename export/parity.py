"""How far two sets of logits are apart, and how far they may be. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Tolerance:
    """Limits for one precision: `rel_l2` at most, `top1_agreement` at least; `source` says where they come from."""

    rel_l2: float
    top1_agreement: float
    source: str


TOLERANCES = {
    "fp32": Tolerance(
        1e-4,
        0.99,
        "another order of summation: unit roundoff 6e-8 x sqrt(4608 terms of the widest convolution) x 20 layers = "
        "8e-5 (rounding errors taken as random: Higham, Accuracy and Stability of Numerical Algorithms, section 2.8)",
    ),
    "fp16": Tolerance(
        2e-2,
        0.97,
        "each layer's output rounded once: unit roundoff 4.9e-4 x sqrt(20 layers) = 2e-3 (rounding errors taken as "
        "random, as for fp32); ten times that, because a runtime may keep its sums in half precision, too",
    ),
    "int8": Tolerance(
        0.2,
        0.95,
        "8-bit rounding, 1/256 of each tensor's range, compounded over 20 layers; per-channel static quantisation "
        "keeps the accuracy of a wide variety of CNNs within 2% of fp32 (Krishnamoorthi, arXiv:1806.08342, abstract)",
    ),
}


@dataclass(frozen=True)
class Parity:
    """Distance of logits from a reference over `images` images; field for field what the manifest records."""

    images: int
    max_abs: float
    rel_l2: float
    top1_agreement: float

    def failure(self, precision: str, natural: bool = True) -> str | None:
        """Why this is outside the tolerance of `precision`, or None. NaN never passes.

        `natural`: False for synthetic images, whose top class may hang on rounding; only `rel_l2` judges them.
        """
        limit = TOLERANCES[precision]
        if not self.rel_l2 <= limit.rel_l2:
            return f"rel_l2 {self.rel_l2:.3g} is above {limit.rel_l2:g}"
        if natural and not self.top1_agreement >= limit.top1_agreement:
            return f"top1_agreement {self.top1_agreement:.3f} is below {limit.top1_agreement:g}"
        return None


def compare(logits: Logits, reference: Logits) -> Parity:
    """Compare `logits` with `reference`, both (images, classes).

    `max_abs` is the largest absolute difference, `rel_l2` = ||logits - reference|| / ||reference|| over all of them,
    `top1_agreement` the share of images with the same top class. Raises ValueError for other or unequal shapes.
    """
    if logits.shape != reference.shape or logits.ndim != 2 or not len(logits):
        raise ValueError(f"logits {logits.shape} against reference {reference.shape}: need equal (images, classes)")
    difference = logits.astype(np.float64) - reference
    norm = float(np.linalg.norm(reference.astype(np.float64)))
    distance = float(np.linalg.norm(difference))
    return Parity(
        images=len(logits),
        max_abs=float(np.abs(difference).max()),
        rel_l2=distance / norm if norm else (0.0 if distance == 0 else float("inf")),
        top1_agreement=float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1))),
    )


def accuracy(logits: Logits, labels: NDArray[np.int64]) -> float:
    """Share of images, 0..1, whose top class is the label. `logits` (images, classes), `labels` (images,)."""
    return float(np.mean(logits.argmax(axis=1) == labels))
