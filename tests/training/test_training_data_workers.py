"""How many loader processes a machine's shared memory can serve."""

from collections import namedtuple

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch.utils.data import Dataset

from training import workers as module
from training.resident import decode, room_for

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free_mb", "workers"),
    [(1000, 16), (96, 16), (95, 15), (30, 5), (1, 1), (0, 1)],  # 1 MB batches: 3 MB for each worker, of half
)
def test_workers_fit_into_shared_memory(monkeypatch, tmp_path, free_mb, workers):
    """Never more than asked for, never none."""
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, free_mb * 1_000_000))
    assert module.fit_workers(16, 1_000_000) == workers


def test_without_shared_memory_nothing_is_known(monkeypatch, tmp_path):
    """Elsewhere than on Linux the number stays as it is; no workers stay none."""
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "missing")
    assert module.fit_workers(16, 10**12) == 16


def test_no_workers_stay_none(monkeypatch, tmp_path):
    """0 means that the training process loads by itself."""
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path)
    assert module.fit_workers(0, 1) == 0


class Ramp(Dataset):
    """Image i is filled with i; its label is 2 i."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return torch.full((3, 4, 4), index, dtype=torch.uint8), 2 * index


@pytest.mark.parametrize(("free", "in_pipes"), [(10**9, False), (0, True)])
def test_what_is_decoded_once_needs_no_shared_memory(monkeypatch, free, in_pipes):
    """All the workers that were asked for, and the same images, whether they come by shared memory or by pipes."""
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, free))
    loader = module.make_decoder(Ramp(), 2, 4, batch_size=3)
    assert loader.num_workers == 2
    assert (loader.collate_fn is module.stack_arrays) == in_pipes
    decoded = decode(loader, room_for(7, 4, torch.device("cpu")))
    assert decoded.labels.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


class Threads(Ramp):
    """As Ramp, but the label is how many threads NumPy's BLAS uses in this process."""

    def __getitem__(self, index):
        return super().__getitem__(index)[0], max(pool["num_threads"] for pool in threadpool_info())


@pytest.mark.parametrize("free", [10**9, 0])
def test_a_loader_process_computes_with_one_thread(monkeypatch, free):
    """As many processes as cores, each with as many threads, spend their time waiting for one another."""
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, free))
    with threadpool_limits(2):
        decoded = decode(module.make_decoder(Threads(), 1, 4, batch_size=3), room_for(7, 4, torch.device("cpu")))
    assert decoded.labels.tolist() == [1] * 7
