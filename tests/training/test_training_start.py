"""What `python -m training fit` finds out before the first epoch, and where it may write."""

import sys
from pathlib import Path

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from training.__main__ import SaveFitConfig, TrainingCLI
from training.errors import TrainingError


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Everything that `python -m training` does in an empty folder before it runs the sub-command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda *_: None)

    def begin(*args):
        monkeypatch.setattr(sys, "argv", ["training", *map(str, args)])
        return TrainingCLI()

    return begin


def test_a_training_without_a_logger_leaves_the_configuration_of_the_current_folder_alone(begin):
    Path("config.yaml").write_text("data:\n  image_size: 32\n")
    cli = begin("fit", "--config", "config.yaml", "--trainer.logger", "false", "--trainer.accelerator", "cpu")
    (keeper,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, SaveFitConfig))
    keeper.setup(cli.trainer, cli.model, "fit")
    assert Path("config.yaml").read_text() == "data:\n  image_size: 32\n"
    folders = {Path(each.dirpath) for each in cli.trainer.callbacks if isinstance(each, ModelCheckpoint)}
    assert [folder.name for folder in folders] == ["checkpoints"]
    assert folders.pop().parent.parent == Path("lightning_logs").absolute()


def test_a_configuration_in_the_folder_of_another_logger_is_not_overwritten(monkeypatch, tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    trainer = Trainer(logger=CSVLogger(tmp_path, name="", version=""), accelerator="cpu", enable_checkpointing=False)
    with pytest.raises(TrainingError, match="--trainer.logger: .* holds a config.yaml already"):
        SaveFitConfig(None, None).setup(trainer, None, "fit")
    assert (tmp_path / "config.yaml").read_text() == "mine"
