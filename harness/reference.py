"""Questions whose answers are known: real images with the fp32 network's logits. NumPy only (workers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.parity import compare_logits
from harness.schema import Parity

Answer = Callable[[np.ndarray], np.ndarray]  # float32 images (batch, 3, size, size) -> logits (batch, classes)


@dataclass(frozen=True)
class Reference:
    """Normalised float32 `images` (n, 3, size, size), fp32 `logits` (n, classes), `labels` (n,) or None."""

    images: np.ndarray
    logits: np.ndarray
    labels: np.ndarray | None

    def check_all(self, answer: Answer, batch_size: int) -> Parity:
        """All images, in chunks of the batch size in question: no other shape is built for the check."""
        answers = []
        for start in range(0, len(self.images), batch_size):
            chunk = self.images[start : start + batch_size]
            answers.append(answer(repeat_images(chunk, batch_size))[: len(chunk)])
        return compare_logits(np.concatenate(answers), self.logits, self.labels)

    def check_batch(self, answer: Answer, batch_size: int) -> Parity:
        """One batch made of these images, repeated where there are fewer; it is the last that `answer` was asked."""
        logits = answer(repeat_images(self.images, batch_size))
        return compare_logits(logits, repeat_images(self.logits, batch_size), None)


def repeat_images(images: np.ndarray, batch_size: int) -> np.ndarray:
    """The first `batch_size` images, starting over when there are fewer."""
    return np.ascontiguousarray(images[np.arange(batch_size) % len(images)])


def read_reference(path: Path, count: int) -> Reference:
    """The first `count` images of an exported reference file, or all when it has fewer."""
    with np.load(path, allow_pickle=False) as file:
        mean, std = (file[name].astype(np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
        images = (file["images"][:count].astype(np.float32) / 255 - mean) / std
        labels = file["labels"][:count]
        return Reference(images, file["logits"][:count], labels if len(labels) and labels.min() >= 0 else None)
