"""How many loader processes a machine's shared memory can serve."""

from collections import namedtuple

import pytest

from training import workers as module

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
