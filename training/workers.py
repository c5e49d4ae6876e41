"""Loader processes: how many a machine can serve, and what they are given."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it, not a file of ours


def fit_workers(workers: int, batch_bytes: int) -> int:
    """As many of `workers` as shared memory can serve: each keeps up to three batches there, for half of what is free.

    Past that a worker is killed by SIGBUS, or waits forever.
    """
    if not SHARED_MEMORY.is_dir():
        return workers
    room = shutil.disk_usage(SHARED_MEMORY).free // 2 // (3 * batch_bytes)
    return min(workers, max(1, room))


def make_loader(
    dataset: Dataset[Any], workers: int, image_size: int, *, batch_size: int, **options: Any
) -> DataLoader[Any]:
    """Batches of `dataset`, images of `image_size` px, by at most `workers` processes; `options` are DataLoader's."""
    count = fit_workers(workers, batch_size * 3 * image_size**2)
    return DataLoader(
        dataset,
        batch_size=1 if "batch_sampler" in options else batch_size,  # a sampler of batches makes them itself
        num_workers=count,
        pin_memory=torch.cuda.is_available(),
        # seeds of the processes: from the global generator, their number would change what training draws next
        generator=torch.Generator(),
        **{"persistent_workers": count > 0, **options},
    )
