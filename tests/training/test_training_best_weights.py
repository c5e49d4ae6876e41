"""What a training that came to nothing does not write."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from training.best_weights import BestWeights
from training.callbacks import Throughput
from training.classifier import Classifier
from training.errors import TrainingError


def finish(tmp_path, weight=1.0, val_loss=0.5, best="best.ckpt", **trainer):
    """End a training whose best epoch, the third, left a network of one `weight`."""
    torch.save({"epoch": 2, "state_dict": {"network.fc.weight": torch.tensor([0.0, weight])}}, tmp_path / "best.ckpt")
    keeper = ModelCheckpoint()
    keeper.best_model_path = str(tmp_path / best) if best else ""
    usual = {"limit_val_batches": 1.0, "limit_train_batches": 1.0, "max_epochs": 3, "max_steps": -1}
    trainer = SimpleNamespace(
        fast_dev_run=False, interrupted=False, checkpoint_callback=keeper, is_global_zero=True, **(usual | trainer)
    )
    callback = BestWeights(Throughput())
    callback.val_loss = {2: val_loss}
    callback.on_fit_end(trainer, Classifier(learning_rate=1e30, weights_dir=tmp_path / "weights"))


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ({"weight": float("nan")}, "3, the fc.weight is not finite"),
        ({"weight": float("inf")}, "3, the fc.weight is not finite"),
        ({"val_loss": float("nan")}, "3, the validation loss is nan"),
        ({"val_loss": float("inf")}, "3, the validation loss is inf"),
    ],
)
def test_a_training_that_diverged_writes_no_weights_and_names_the_learning_rate(tmp_path, left, said):
    with pytest.raises(TrainingError, match=said) as caught:
        finish(tmp_path, **left)
    assert str(caught.value).endswith("give a --model.learning_rate below 1e+30")
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"limit_val_batches": 0}, "drop --trainer.limit_val_batches 0"),
        ({"max_epochs": 0}, "--trainer.max_epochs is 0: give at least 1"),
        ({"max_steps": 0}, "--trainer.max_steps is 0: give at least 1"),
        ({}, "let --trainer.check_val_every_n_epoch be at most --trainer.max_epochs"),
    ],
)
def test_a_training_without_a_validation_names_the_flag_that_was_given(tmp_path, flags, said):
    with pytest.raises(TrainingError) as caught:
        finish(tmp_path, best="", **flags)
    assert str(caught.value) == f"no validation ran, so no weights were written; {said}"
