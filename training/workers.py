"""How many loader processes a machine can serve."""

from __future__ import annotations

import shutil
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it, not a file of ours


def fit_workers(workers: int, batch_bytes: int) -> int:
    """As many of `workers` as shared memory can serve: each keeps up to three batches there, for half of what is free.

    Past that a worker is killed by SIGBUS, or waits forever.
    """
    if not SHARED_MEMORY.is_dir():
        return workers
    room = shutil.disk_usage(SHARED_MEMORY).free // 2 // (3 * batch_bytes)
    return min(workers, max(1, room))
