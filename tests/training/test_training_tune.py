"""A learning rate and a batch size found before training."""

import math
import re

import numpy as np
import pytest
import torch
from lightning import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.classifier import Classifier
from training.data import ImageDataModule
from training.errors import TrainingError
from training.tune import find_batch_size, steepest_rate


def test_the_rate_found_is_where_a_logistic_fall_over_its_logarithm_is_steepest():
    """That is its middle, here at 0.03."""
    rates = np.geomspace(1e-6, 1, 100)
    losses = 1 + 1 / (1 + (rates / 0.03) ** 2)
    assert steepest_rate(rates, losses) == pytest.approx(0.03, rel=0.1)


def test_losses_that_are_not_finite_are_left_out():
    rates = np.geomspace(1e-6, 1, 100)
    losses = 1 + 1 / (1 + (rates / 0.03) ** 2)
    losses[-5:] = math.nan
    assert steepest_rate(rates, losses) == pytest.approx(0.03, rel=0.1)
    with pytest.raises(TrainingError, match="--find_learning_rate"):
        steepest_rate(rates[:12], losses[:12])


def test_the_batch_is_doubled_until_memory_ends(monkeypatch, capsys, tmp_path):
    """A fake of a GPU whose memory holds 20 images."""
    step, tried = Classifier.training_step, []

    def limited(self, batch, batch_index):
        tried.append(len(batch[1]))
        if len(batch[1]) > 20:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return step(self, batch, batch_index)

    monkeypatch.setattr(Classifier, "training_step", limited)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    data = ImageDataModule(image_size=16, train_images=700, val_images=4, batch_size=8, workers=0, augment="none")
    model = Classifier()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      enable_model_summary=False, max_epochs=1)  # fmt: skip
    find_batch_size(trainer, model, data)
    assert data.batch_size == 16
    assert sorted(set(tried)) == [8, 16, 32]
    assert "batch size found: 16 (instead of 8; at most 70 was tried)" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


TINY = ["--data.image_size", 32, "--data.train_images", 160, "--data.val_images", 10, "--data.batch_size", 4,
        "--data.workers", 0]  # fmt: skip


@pytest.mark.slow
def test_training_goes_on_with_the_rate_found(run_training, tmp_path):
    small = ["--model.arch", "squeezenet1_1", "--trainer.max_epochs", 2]
    done = run_training("fit", *TINY, *small, "--find_learning_rate", "true", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = re.search(r"learning rate found: (\S+) \(instead of 0\.05\); loss over rate: (\S+)", done.stdout)
    events = EventAccumulator(str(tmp_path / found[2]))
    events.Reload()
    assert "find/learning_rate" in events.Tags()["images"]
    rates = [event.value for event in events.Scalars("lr-SGD/pg1")]
    assert max(rates) == pytest.approx(float(found[1]), rel=0.05)
    assert not list(tmp_path.glob(".lr_find*"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--find_batch_size", "true", "--trainer.accelerator", "cpu"], "--find_batch_size"),
        (["--find_learning_rate", "true", "--trainer.max_epochs", 1, "--data.batch_size", 16], "10 steps is too short"),
        (["--find_learning_rate", "true", "--ckpt_path", "last"], "--ckpt_path: no run resnet18_32_*"),
        (["--ema_decay", "1.5"], "--ema_decay"),
        (["--early_stopping_patience", "0"], "--early_stopping_patience"),
        (["--data.augment", "rand", "--data.resident_on_gpu", "true"], "--data.resident_on_gpu"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(more, said, run_training, tmp_path):
    done = run_training("fit", *TINY, *more, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
