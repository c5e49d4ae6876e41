"""Weights as training writes them, made here from torchvision alone: a ResNet-18 for 10 classes at 64 px."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from filelock import FileLock

from export.__main__ import main

SIZE, CLASSES, IMAGES = 64, 10, 24
MEAN, STD = [0.45, 0.5, 0.55], [0.2, 0.25, 0.3]


@dataclass(frozen=True)
class Exported:
    """A folder that `python -m export` has filled."""

    weights_dir: Path

    def export(self, *flags: str) -> int:
        """Run `python -m export` in this process; answers its exit status."""
        return main(["--weights_dir", str(self.weights_dir), *flags])

    def everything(self) -> dict[str, bytes]:
        """Every file below the folder with its content, to show that nothing changed, came or went."""
        return {str(path): path.read_bytes() for path in self.weights_dir.rglob("*") if path.is_file()}

    @property
    def weights(self) -> Path:
        return self.weights_dir / f"best_resnet18_{SIZE}.pth"

    @property
    def samples(self) -> Path:
        return self.weights_dir / "samples" / f"best_resnet18_{SIZE}.npz"

    @property
    def onnx(self) -> Path:
        return self.weights_dir / "onnx" / f"resnet18_{SIZE}_fp32.onnx"

    @property
    def int8(self) -> Path:
        return self.weights_dir / "onnx" / f"resnet18_{SIZE}_int8.onnx"

    @property
    def reference(self) -> Path:
        return self.weights_dir / "reference" / f"resnet18_{SIZE}.npz"


def sample_arrays() -> dict[str, np.ndarray]:
    """Noisy copies of one block pattern per class; the first two validation labels are wrong."""
    random = np.random.default_rng(0)
    patterns = random.uniform(60, 195, (CLASSES, 3, 8, 8))
    arrays: dict[str, np.ndarray] = {}
    for split in ("val", "train"):
        labels = random.integers(0, CLASSES, IMAGES)
        blocks = patterns[labels] + random.normal(scale=10, size=(IMAGES, 3, 8, 8))
        images = np.kron(blocks, np.ones((SIZE // 8, SIZE // 8))).clip(0, 255).astype(np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    arrays["val_labels"][:2] = (arrays["val_labels"][:2] + 1) % CLASSES
    return arrays


def fitted_network() -> torch.nn.Module:
    """Random layers with BatchNorm statistics of the images, and a last layer solved by ridge regression.

    So its classes are told apart, as after training: of a random network the top class hangs on rounding.
    """
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=CLASSES)
    arrays = sample_arrays()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    images = (torch.from_numpy(arrays["train_images"]) / 255 - mean) / std
    targets = torch.nn.functional.one_hot(torch.from_numpy(arrays["train_labels"]), CLASSES).float() - 0.1
    head, network.fc = network.fc, torch.nn.Identity()
    with torch.no_grad():
        for _ in range(20):
            network(images)
        features = network.eval()(images)
        kernel = features @ features.T
        ridge = 0.01 * kernel.diagonal().mean() * torch.eye(IMAGES)
        head.weight.copy_((features.T @ torch.linalg.solve(kernel + ridge, targets)).T)
        head.bias.zero_()
    network.fc = head
    return network


def write_weights(path: Path, state_dict: dict[str, torch.Tensor], samples: dict[str, np.ndarray] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state_dict, path)
    described = {
        "format": 1,
        "arch": "resnet18",
        "image_size": SIZE,
        "num_classes": CLASSES,
        "classes": [f"class {index}" for index in range(CLASSES)],
        "normalization": {"mean": MEAN, "std": STD},
        "accuracy": 0.1,
        "val_loss": 2.3,
        "epoch": 1,
        "seed": 0,
        "data": {"source": "builtin", "root": None, "train_images": IMAGES, "val_images": IMAGES},
        "init_from": None,
        "fit_s": 1.0,
        "device": "cpu",
        "created_at": "2026-01-01T00:00:00+00:00",
        "versions": {"torch": torch.__version__},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(described))
    if samples is not None:
        (path.parent / "samples").mkdir(exist_ok=True)
        np.savez(path.parent / "samples" / f"{path.stem}.npz", **samples)


@pytest.fixture(scope="session")
def network() -> torch.nn.Module:
    return fitted_network()


def manifest_of(artifact: Path) -> dict[str, Any]:
    return json.loads(artifact.with_suffix(".json").read_text())


@pytest.fixture(scope="session", name="manifest_of")
def manifest_of_fixture() -> Callable[[Path], dict[str, Any]]:
    return manifest_of


@pytest.fixture
def bare(tmp_path: Path, network: torch.nn.Module) -> Exported:
    """Weights and samples as training leaves them, nothing exported yet; free to be changed."""
    exported = Exported(tmp_path / "weights")
    write_weights(exported.weights, network.state_dict(), sample_arrays())
    return exported


@pytest.fixture(scope="session")
def exported_once(tmp_path_factory: pytest.TempPathFactory, network: torch.nn.Module) -> Exported:
    """One real export for the whole session (the ONNX exporter takes seconds); no test changes it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one folder for all processes that run the suite
        shared = shared.parent
    exported = Exported(shared / "exported_once" / "weights")
    with FileLock(f"{shared}/exported_once.lock"):
        if not exported.weights_dir.exists():
            write_weights(exported.weights, network.state_dict(), sample_arrays())
            assert exported.export() == 0
    return exported


@pytest.fixture
def exported(exported_once: Exported, tmp_path: Path) -> Exported:
    """A copy of `exported_once`, free to be changed."""
    shutil.copytree(exported_once.weights_dir, tmp_path / "weights")
    return Exported(tmp_path / "weights")
