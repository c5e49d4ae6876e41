"""What `python -m training fit` finds out before the first epoch, and where it may write."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from training import __main__ as training_main
from training.__main__ import SaveFitConfig, TrainingCLI
from training.errors import TrainingError
from training.refusals import check_folder


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
    with pytest.raises(TrainingError, match=r"--trainer.logger: .* holds a config.yaml already"):
        SaveFitConfig(None, None).setup(trainer, None, "fit")
    assert (tmp_path / "config.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--trainer.accelerator", "tpu"], "--trainer.accelerator: "),
        (["--trainer.accelerator", "cpu", "--trainer.devices", "0"], "--trainer.devices: "),
        (["--trainer.strategy", "nosuch"], "--trainer.strategy: "),
        (["--trainer.max_epochs=-5"], "--trainer.max_epochs: "),
        (["--seed_everything=-1"], "--seed_everything: -1; give 0 to 4294967295"),
        (["--data.image_size", "1000000"], "--data.image_size: 1000000 px; give at most 16384"),
        (["--model.learning_rate", ".inf"], "--model.learning_rate: inf"),
    ],
)
def test_a_trainer_that_cannot_be_made_is_one_line_that_names_the_flag(begin, flags, said):
    with pytest.raises(TrainingError, match=said):
        begin("fit", *flags)


def test_a_gpu_that_is_not_there_is_named(begin, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"--trainer.accelerator: No supported gpu backend"):
        begin("fit", "--trainer.accelerator", "gpu")


def test_folders_that_cannot_be_written_are_named_before_the_training(begin):
    Path("file").touch()
    Path("held").mkdir()
    Path("held/samples").touch()
    for flag in ("file", "file/x", "/proc/foo", "held"):
        cli = begin("fit", "--weights_dir", flag, "--trainer.accelerator", "cpu")
        with pytest.raises(TrainingError, match=rf"--weights_dir: {flag}.* cannot be written"):
            cli.before_fit()
    Path("lightning_logs").touch()
    cli = begin("fit", "--trainer.accelerator", "cpu")
    with pytest.raises(TrainingError, match=r"^lightning_logs: cannot be written"):
        cli.before_fit()
    assert {path.name for path in Path().rglob("*")} == {"file", "held", "samples", "lightning_logs"}


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path):
    check_folder(tmp_path / "a/b", "--weights_dir: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "weights/a.pth"), "weights/a.pth: Permission denied"),
        (OSError("Caught OSError in a worker.\nOSError: 7 requested and 0 written"), "OSError: 7 requested"),
        (np._core._exceptions._ArrayMemoryError((10**6, 10**6), np.dtype("uint8")), "--data.image_size"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "--data.batch_size"),
    ],
)
def test_what_the_machine_refuses_while_training_is_one_line(capsys, monkeypatch, error, said):
    def work(*_):
        raise error

    monkeypatch.setattr(training_main, "run_until_ended", work)
    monkeypatch.setattr(training_main, "quieten", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        training_main.main()
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert (line.count("\n"), said in line) == (1, True), line
