"""`--data.cache disk`: nothing half, foreign or stale is taken for a cache."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tests.cached_data import SIZE, caches, open_data, pictures, two_epochs
from training import builtin, resample
from training import cache as module
from training.cache_key import identify, key_of
from training.errors import TrainingError


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_disk_that_is_too_small_is_named_and_nothing_is_left(monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(TrainingError, match=r"--data\.cache disk: .* GB are needed"):
        open_data(cache="disk").setup("fit")
    assert caches() == []


def test_images_go_to_the_device_from_the_disk_cache():
    pairs = zip(two_epochs(cache="disk", resident_on_gpu=True), two_epochs(), strict=True)
    assert all(torch.equal(one[0], other[0]) for one, other in pairs)


def test_other_images_sizes_and_seeds_have_caches_of_their_own(tmp_path):
    root = pictures(tmp_path / "pets")
    common = {"train_images": 1, "val_images": 1, "val_fraction": 0.5, "on_bad_image": "stop"}

    def key(size=SIZE, seed=0, **changed):
        return key_of(identify("folder", root, size, seed=seed, **(common | changed)))

    keys = [key(), key(size=32), key(seed=1), key(val_fraction=0.4)]
    (root / "cat/0.png").touch()
    keys.append(key())
    Image.new("RGB", (9, 9)).save(root / "dog/new.png")
    keys.append(key())
    (root / "dog/new.png").rename(root / "dog/other.png")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key() == keys[-1]


@pytest.mark.parametrize("changed", [builtin, resample])
def test_built_in_images_drawn_or_resized_otherwise_have_another_cache(changed, tmp_path, monkeypatch):
    def key():
        return key_of(
            identify("builtin", None, SIZE, train_images=1, val_images=1, val_fraction=0.5, seed=0, on_bad_image="stop")
        )

    before = key()
    assert key() == before
    (tmp_path / "changed.py").write_bytes(Path(changed.__file__).read_bytes() + b"#")
    monkeypatch.setattr(changed, "__file__", str(tmp_path / "changed.py"))
    assert key() != before


def test_a_changed_folder_makes_a_new_cache_and_names_the_old(tmp_path, capsys):
    root = pictures(tmp_path / "pets")
    options = {"source": "folder", "root": root, "cache": "disk", "val_fraction": 0.5}
    assert len(open_data(**options).opened.train) == 4
    (old,) = caches()
    Image.new("RGB", (9, 9)).save(root / "cat/new.png")
    capsys.readouterr()
    splits = open_data(**options).opened
    assert len(splits.train) + len(splits.val) == 9
    said = capsys.readouterr().out
    assert f"rm -r data/cache/{old}" in said
    assert len(said.splitlines()) == 2  # the new one, and the old one


def test_a_found_cache_opens_no_picture(tmp_path, monkeypatch):
    options = {"source": "folder", "root": pictures(tmp_path / "pets"), "cache": "disk"}
    first = open_data(**options).opened
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("opened"))
    second = open_data(**options).opened
    assert torch.equal(first.train.images, second.train.images)
    assert second.classes == ["cat", "dog"]


@pytest.mark.parametrize("damage", ["cut", "gone", "json"])
def test_a_damaged_cache_names_the_folder_to_delete(damage):
    open_data(cache="disk").setup("fit")
    (name,) = caches()
    images = module.CACHE_DIR / name / "train_images.npy"
    if damage == "cut":
        images.write_bytes(images.read_bytes()[:1000])
    elif damage == "gone":
        images.unlink()
    else:
        (module.CACHE_DIR / name / "cache.json").write_text("{")
    with pytest.raises(TrainingError, match=rf"rm -r data/cache/{name}"):
        open_data(cache="disk").setup("fit")
    shutil.rmtree(module.CACHE_DIR / name)
    assert len(open_data(cache="disk").opened.train) == 22


def build(started, slow_s):
    """In a process of its own: a build whose every picture takes `slow_s`."""
    from training.builtin import BuiltinScenes

    plain = BuiltinScenes.__getitem__

    def slow(self, index):
        started.set()
        time.sleep(slow_s)
        return plain(self, index)

    BuiltinScenes.__getitem__ = slow
    open_data(cache="disk").setup("fit")


def test_a_killed_build_leaves_no_cache_and_the_next_run_builds_it():
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=build, args=(started, 10))
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [name for name in caches() if not name.startswith(".")] == []
    assert len(open_data(cache="disk").opened.train) == 22
    assert len(caches()) == 1  # nothing hidden either


def test_two_processes_at_once_build_one_cache():
    context = multiprocessing.get_context("fork")
    started = context.Event()
    processes = [context.Process(target=build, args=(started, 0.005)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    (name,) = caches()
    described = json.loads((module.CACHE_DIR / name / "cache.json").read_text())
    assert described["splits"] == ["train", "val", "test"]
