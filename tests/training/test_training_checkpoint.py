"""Weights on disk: what torchvision can read, and what is refused in one line."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from training.checkpoint import (
    CheckpointError,
    Metadata,
    load_metadata,
    load_samples,
    load_state_dict,
    load_weights,
    samples_path,
    save_weights,
    weights_path,
)

CLASSES = ["cat", "dog", "owl"]


def _metadata(**changes):
    values = {
        "image_size": 32,
        "num_classes": 3,
        "classes": CLASSES,
        "normalization": {"mean": [0.5] * 3, "std": [0.2] * 3},
        "accuracy": 0.5,
        "val_loss": 1.0,
        "epoch": 1,
        "seed": 0,
        "data": {"source": "builtin", "root": None, "train_images": 3, "val_images": 3},
        "init_from": None,
        "fit_s": 1.0,
        "device": "cpu",
        "created_at": "2026-01-01T00:00:00+00:00",
        "versions": {"torch": torch.__version__},
    }
    return Metadata(**(values | changes))


def _samples():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0])
    return {"val_images": images, "val_labels": labels, "train_images": images[:2], "train_labels": labels[:2]}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet18(num_classes=3)


@pytest.fixture
def saved(tmp_path, network):
    path = weights_path(tmp_path, 32)
    save_weights(path, network.state_dict(), _metadata(), _samples())
    return path


def test_torchvision_reads_what_is_written(saved, network):
    fresh = resnet18(num_classes=3)
    fresh.load_state_dict(torch.load(saved, weights_only=True))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(fresh.eval()(images), network.eval()(images))


def test_weights_metadata_and_samples_come_back_as_they_were(saved, network):
    state_dict, metadata = load_weights(saved)
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in network.state_dict().items())
    assert (metadata.classes, metadata.image_size, metadata.accuracy) == (CLASSES, 32, 0.5)
    assert all(np.array_equal(load_samples(saved)[name], array) for name, array in _samples().items())


def test_weights_of_an_earlier_run_are_kept_beside_the_new_ones(saved, network):
    before = saved.read_bytes()
    save_weights(saved, resnet18(num_classes=3).state_dict(), _metadata(accuracy=0.9), _samples())
    previous = saved.with_name("best_resnet18_32.previous.pth")
    assert previous.read_bytes() == before
    assert load_weights(previous)[1].accuracy == 0.5
    assert load_weights(saved)[1].accuracy == 0.9
    assert not list(saved.parent.rglob("*.partial"))


def test_a_write_that_fails_leaves_the_old_weights_alone(saved, network):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save_weights(saved, network.state_dict(), _metadata(data={"root": object()}), _samples())
    assert saved.read_bytes() == before
    assert load_weights(saved)
    assert not list(saved.parent.rglob("*.partial"))


@pytest.mark.parametrize("full", [".best_resnet18_32.json.partial", "samples/.best_resnet18_32.npz.partial"])
def test_a_disk_that_fills_leaves_the_old_weights_and_their_samples_in_place(saved, network, full):
    before = {path: path.read_bytes() for path in saved.parent.rglob("*.*")}
    (saved.parent / full).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        save_weights(saved, network.state_dict(), _metadata(accuracy=0.9), _samples())
    assert {path: path.read_bytes() for path in saved.parent.rglob("*.*")} == before


@pytest.mark.parametrize("renames", range(5))
def test_a_save_that_is_cut_short_leaves_no_json_of_weights_that_are_not_there(saved, network, monkeypatch, renames):
    """`make` takes a size for trained when its JSON stands there."""
    replace, done = Path.replace, []

    def stop_in_time(path, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop_in_time)
    with pytest.raises(KeyboardInterrupt):
        save_weights(saved, resnet18(num_classes=3).state_dict(), _metadata(), _samples())
    assert not saved.with_suffix(".json").exists() or load_weights(saved)
    assert any(path.stat().st_size > 1e6 for path in saved.parent.glob("*.pth"))


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _edit_json(**changes):
    def edit(path):
        file = path.with_suffix(".json")
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.with_suffix(".json").unlink(), "no such file"),
        (lambda path: path.with_suffix(".json").write_text("{"), "not a description"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "not a description"),
        (_flip_a_byte, "sha256"),
        (_edit_json(format=2), "format 2"),
        (_edit_json(num_classes=4), "contradict"),
        (_edit_json(num_classes="3"), "contradict"),
        (_edit_json(num_classes=4, classes=["a", "b", "c", "d"]), "3 classes"),
        (_edit_json(accuracy=7), "contradict"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_in_one_line(saved, damage, said):
    damage(saved)
    with pytest.raises(CheckpointError) as caught:
        load_weights(saved)
    assert said in str(caught.value)
    assert saved.stem in str(caught.value)
    assert "\n" not in str(caught.value)


class _Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    for name, save in (
        ("torch.pth", torch.save),
        ("plain.pth", lambda item, path: path.write_bytes(pickle.dumps(item))),
    ):
        save({"conv1.weight": _Payload(tmp_path / "canary")}, tmp_path / name)
        with pytest.raises(CheckpointError, match=name):
            load_state_dict(tmp_path / name)
    assert not (tmp_path / "canary").exists()


def test_files_that_are_no_state_dict_are_refused(tmp_path):
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("hello")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a", "b")
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=path.name):
            load_state_dict(path)


def test_damaged_samples_are_refused(saved):
    path = samples_path(saved)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="train that size again"):
        load_samples(saved)
    path.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_samples(saved)


def test_metadata_stands_beside_the_weights(saved):
    assert load_metadata(saved).sha256 == __import__("hashlib").sha256(saved.read_bytes()).hexdigest()
