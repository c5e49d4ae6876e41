"""Loader processes: how many a machine can serve, and what they are given."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
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
        **{"persistent_workers": count > 0, "worker_init_fn": use_one_thread, **options},
    )


def use_one_thread(worker: int) -> None:
    """For NumPy's BLAS, as PyTorch does for its own: else each uses every core, and all wait for one another."""
    threadpool_limits(1)


def make_decoder(dataset: Dataset[Any], workers: int, image_size: int, batch_size: int) -> DataLoader[Any]:
    """Batches of `dataset` in order, once, by all of `workers`.

    Where shared memory is too small for so many, batches come through pipes, as NumPy arrays: containers and small
    virtual machines offer 64 MB, enough for one process at 512 px.
    """
    if fit_workers(workers, batch_size * 3 * image_size**2) == workers:
        return make_loader(dataset, workers, image_size, batch_size=batch_size, persistent_workers=False)
    return DataLoader(
        dataset, batch_size=batch_size, num_workers=workers, collate_fn=stack_arrays, worker_init_fn=use_one_thread
    )


def stack_arrays(items: list[tuple[torch.Tensor, int]]) -> tuple[Any, Any]:
    """Images uint8 (n, 3, S, S) and labels int64 (n,), in this process's own memory."""
    images, labels = zip(*items, strict=True)
    return np.stack([image.numpy() for image in images]), np.array(labels)
