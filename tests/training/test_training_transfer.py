"""The table that sets a start from another size's weights beside one from scratch."""

import math

import numpy as np
import pytest
import torch

from training.checkpoint import Metadata, save_weights
from training.transfer import Trained, accuracy_gain, main


def metadata(size=32, accuracy=0.5, fit_s=60.0, init_from=None, val_images=100):
    return Metadata(
        image_size=size, num_classes=2, classes=["a", "b"], normalization={"mean": [0.5] * 3, "std": [0.2] * 3},
        accuracy=accuracy, val_loss=1.0, epoch=2, seed=0,
        data={"source": "builtin", "root": None, "train_images": 8, "val_images": val_images},
        init_from=init_from, fit_s=fit_s, device="cpu", created_at="2026-11-24T00:00:00+00:00", versions={},
    )  # fmt: skip


def write(folder, described):
    images, labels = np.zeros((1, 3, 4, 4), np.uint8), np.zeros(1, np.int64)
    samples = {f"{s}_{k}": v for s in ("val", "train") for k, v in (("images", images), ("labels", labels))}
    path = folder / f"best_resnet18_{described.image_size}.pth"
    for _ in range(2):  # the second leaves a .previous pair, which is no size of its own
        save_weights(path, {"fc.bias": torch.zeros(2)}, described, samples)


def test_each_size_stands_beside_the_base_with_time_and_accuracy_gained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for size in (64, 32, 48):
        write(tmp_path / "scratch", metadata(size))
    write(tmp_path / "warm", metadata(32, 0.7, 30.0, "weights/best_resnet18_24.pth"))
    write(tmp_path / "warm", metadata(64, 0.45, 90.0, "weights/best_resnet18_32.pth"))
    assert main(["scratch", "warm"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    half = 100 * 1.96 * math.sqrt(0.5 * 0.5 / 100 + 0.7 * 0.3 / 100)
    assert rows[0] == ["32", "scratch", "scratch", "2", "60", "50.0%", "1.00", ""]
    assert rows[1] == ["32", "warm", "best_resnet18_24", "2", "30", "70.0%", "0.50", f"+20.0 ± {half:.1f} points"]
    assert [row[0] for row in rows] == ["32", "32", "64", "64"]
    assert rows[3][6] == "1.50"
    assert rows[3][7].startswith("-5.0 ±")


def test_the_interval_of_a_gain_holds_the_truth_in_95_of_100_trials():
    rng = np.random.default_rng(0)
    base, other = rng.binomial(200, 0.6, 4000) / 200, rng.binomial(200, 0.8, 4000) / 200
    gains = [accuracy_gain(*(Trained(metadata(val_images=200), accuracy, 60.0) for accuracy in pair))
             for pair in zip(base, other, strict=True)]  # fmt: skip
    assert np.mean([abs(gain - 0.2) <= half for gain, half in gains]) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"size": 48}, "no image size in common"),
        ({"val_images": 7}, "other data"),
        (None, "holds no best_"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, capsys, monkeypatch, other, reason):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scratch", metadata())
    (tmp_path / "warm").mkdir()
    if other:
        write(tmp_path / "warm", metadata(**other))
    assert main(["scratch", "warm"]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
