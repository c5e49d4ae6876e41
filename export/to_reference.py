"""The reference every backend is held against: a seeded real batch, its labels, and PyTorch's fp32 logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.files import replacing
from export.samples import Images, limit_batch, normalise

BATCH = 16


@dataclass(frozen=True)
class Reference:
    """uint8 `images` (n, 3, size, size), `labels` (n,), PyTorch's fp32 `logits` (n, classes), and the normalisation."""

    images: Images
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    mean: list[float]
    std: list[float]


def reference_logits(
    network: torch.nn.Module, images: Images, mean: list[float], std: list[float]
) -> NDArray[np.float32]:
    """Logits (n, classes) of uint8 `images` (n, 3, size, size): PyTorch eager on the CPU in IEEE fp32, thus no TF32."""
    network.eval()
    batch = limit_batch(BATCH, images.shape[-1])
    with torch.inference_mode():
        batches = [
            network(torch.from_numpy(normalise(images[start : start + batch], mean, std)))
            for start in range(0, len(images), batch)
        ]
    return torch.cat(batches).numpy()


def write_reference(path: Path, reference: Reference) -> None:
    """Write the reference file (uncompressed npz, one array per field), atomically."""
    with replacing(path) as temporary:
        np.savez(
            temporary,
            images=reference.images,
            labels=reference.labels,
            logits=reference.logits,
            mean=np.array(reference.mean, np.float32),
            std=np.array(reference.std, np.float32),
        )


def read_logits(path: Path) -> NDArray[np.float32]:
    """PyTorch's logits (n, classes) in a reference file."""
    with np.load(path) as arrays:
        logits: NDArray[np.float32] = arrays["logits"]
    return logits
