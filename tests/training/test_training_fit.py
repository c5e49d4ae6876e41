"""Training end to end: files, curves, seeds, and real handwritten digits."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.models import resnet18

from training.checkpoint import load_samples, load_weights

TINY = ["--data.image_size", 32, "--data.train_images", 48, "--data.val_images", 40, "--data.batch_size", 16,
        "--data.workers", 0, "--trainer.max_epochs", 2]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(run_training, tmp_path_factory):
    """A folder where the same tiny training ran twice, with what it printed."""
    folder = tmp_path_factory.mktemp("fit")
    runs = [run_training("fit", *TINY, "--weights_dir", "a", cwd=folder) for _ in range(2)]
    return folder, runs


def test_fit_writes_weights_that_torchvision_loads_with_metadata_and_samples(fitted):
    folder, runs = fitted
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    path = folder / "a/best_resnet18_32.pth"
    resnet18(num_classes=10).load_state_dict(torch.load(path, weights_only=True))
    _, metadata = load_weights(path)
    assert metadata.data == {"source": "builtin", "root": None, "train_images": 48, "val_images": 40}
    samples = load_samples(path)
    assert samples["val_images"].shape == (40, 3, 32, 32)
    assert samples["train_images"].shape == (48, 3, 32, 32)


def test_the_accuracy_in_the_metadata_is_what_the_weights_reach_on_the_validation_images(fitted):
    path = fitted[0] / "a/best_resnet18_32.pth"
    state_dict, metadata = load_weights(path)
    network = resnet18(num_classes=10).eval()
    network.load_state_dict(state_dict)
    samples = load_samples(path)  # all 40 validation images
    mean, std = (np.reshape(metadata.normalization[name], (3, 1, 1)) for name in ("mean", "std"))
    images = torch.from_numpy(((samples["val_images"] / 255 - mean) / std).astype(np.float32))
    with torch.inference_mode():
        predicted = network(images).argmax(1).numpy()
    assert (predicted == samples["val_labels"]).mean() == pytest.approx(metadata.accuracy, abs=1 / 40 + 1e-6)


def test_the_older_pair_is_kept_and_the_same_seed_gives_the_same_weights(fitted):
    folder, _ = fitted
    first, _ = load_weights(folder / "a/best_resnet18_32.previous.pth")
    second, _ = load_weights(folder / "a/best_resnet18_32.pth")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_output_is_plain_lines_ending_in_place_accuracy_and_rates(fitted):
    _, runs = fitted
    assert runs[0].stderr == ""
    *epochs, last = runs[0].stdout.splitlines()
    assert len(epochs) == 3  # a line for each, and one for the input pipeline after the first
    assert "input pipeline: loader alone" in epochs[1]
    assert "limits" in epochs[1]
    for said in ("a/best_resnet18_32.pth", "accuracy", "loader", "step", "img/s"):
        assert said in last


def test_tensorboard_holds_curves_rates_and_images_in_a_folder_named_after_the_size(fitted):
    runs = sorted((fitted[0] / "lightning_logs").iterdir())
    assert len(runs) == 2
    assert all("_32_" in run.name for run in runs)
    events = EventAccumulator(str(runs[0]))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/loss", "val/loss", "val/accuracy", "train/images_per_s"} <= scalars
    assert any(name.startswith("lr") for name in scalars)
    assert {"best/accuracy", "best/val_loss"} <= scalars
    assert events.Tags()["images"] == ["train/images"]


@pytest.mark.slow
def test_training_resumes_from_a_checkpoint_and_validate_repeats_the_accuracy(run_training, fitted):
    folder, _ = fitted
    checkpoint = sorted(folder.glob("lightning_logs/*/checkpoints/last.ckpt"))[0]
    arguments = [*TINY[:-1], 3, "--weights_dir", "c", "--ckpt_path", checkpoint]
    resumed = run_training("fit", *arguments, cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 3" in resumed.stdout
    assert "epoch 2" not in resumed.stdout
    validated = run_training("validate", *TINY, "--weights_dir", "c", cwd=folder)
    _, metadata = load_weights(folder / "c/best_resnet18_32.pth")
    assert f"{metadata.accuracy:.3f}" in validated.stdout


def test_handwritten_digits_from_a_folder_reach_90_percent(run_training, tmp_path):
    digits = load_digits()
    parts = train_test_split(digits.images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    for split, images, labels in (("train", parts[0], parts[2]), ("val", parts[1], parts[3])):
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / "digits" / split / str(label) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 255 / 16).astype(np.uint8)).save(path)
    done = run_training(
        *("fit", "--data.source", "folder", "--data.root", "digits", "--data.image_size", 16, "--data.augment", "none"),
        *("--data.batch_size", 64, "--trainer.max_epochs", 2, "--model.learning_rate", 0.1),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "weights/best_resnet18_16.json").read_text())
    assert described["classes"] == list("0123456789")
    assert described["data"]["val_images"] == 360
    assert described["accuracy"] > 0.9


@pytest.mark.slow
def test_a_warm_start_has_its_own_epochs_and_learning_rate(run_training, fitted):
    folder, _ = fitted
    warm = [
        "--model.init_from",
        "a/best_resnet18_32.pth",
        "--warm_start_epochs",
        1,
        "--warm_start_learning_rate",
        0.004,
    ]
    tiny = [*TINY, "--weights_dir", "d", "--trainer.log_every_n_steps", 1]
    done = run_training("fit", *tiny, *warm, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "epoch 2" not in done.stdout
    _, metadata = load_weights(folder / "d/best_resnet18_32.pth")
    assert metadata.init_from == "a/best_resnet18_32.pth"
    events = EventAccumulator(str(max((folder / "lightning_logs").iterdir(), key=lambda run: run.stat().st_mtime)))
    events.Reload()
    rates = [
        event.value for name in events.Tags()["scalars"] if name.startswith("lr") for event in events.Scalars(name)
    ]
    assert max(rates) == pytest.approx(0.004)
