"""A training that was killed goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.stage_process import SEARCH_PATH
from training.checkpoint import load_weights
from training.errors import TrainingError
from training.resume import last_checkpoint, open_checkpoint

# everything that draws by chance or carries a state from step to step
RUN = ["--data.image_size", 32, "--data.train_images", 96, "--data.val_images", 40, "--data.batch_size", 8,
       "--data.epoch_megapixels", 0.08, "--data.augment", "trivial", "--model.mixup", "true", "--model.cutmix", "true",
       "--ema_decay", 0.9, "--early_stopping_patience", 9, "--trainer.gradient_clip_val", 1.0,
       "--trainer.precision", "32-true", "--trainer.accelerator", "cpu", "--trainer.max_epochs", 4,
       "--model.arch", "shufflenet_v2_x0_5"]  # fmt: skip


def start(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training", "fit", *map(str, [*RUN, *arguments])]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(run_training, tmp_path_factory):
    """A folder with an unbroken run and one that was killed in its third epoch and resumed, with another loader."""
    folder = tmp_path_factory.mktemp("resume")
    whole = run_training("fit", *RUN, "--data.workers", 0, "--weights_dir", "whole", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    killed = start("--data.workers", 1, "--weights_dir", "cut", cwd=folder)
    while not (line := killed.stdout.readline()).startswith("epoch 2:"):
        assert line, killed.stderr.read()
    said_at = time.time()
    while not [p for p in folder.glob("lightning_logs/*/checkpoints/last.ckpt") if p.stat().st_mtime > said_at]:
        time.sleep(0.01)
    time.sleep(0.1)  # of the second that epoch 3 takes
    os.killpg(killed.pid, signal.SIGKILL)
    left = killed.communicate()[0]
    assert "epoch 3" not in left
    assert not (folder / "cut").exists()
    more = ("--data.workers", 0, "--weights_dir", "cut", "--ckpt_path", "last")
    resumed = run_training("fit", *RUN, *more, cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    return folder, resumed.stdout


@pytest.mark.slow
def test_a_killed_training_resumes_to_bit_equal_weights(runs):
    folder, resumed = runs
    assert "epoch 2:" not in resumed
    assert "epoch 3:" in resumed
    (whole, described), (cut, described_cut) = (
        load_weights(folder / n / "best_shufflenet_v2_x0_5_32.pth") for n in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    for field in ("accuracy", "val_loss", "epoch", "seed"):
        assert getattr(described, field) == getattr(described_cut, field), field


@pytest.mark.slow
def test_the_last_checkpoints_are_bit_equal_too(runs):
    """Weights, averaged weights, momentum, schedule: whatever differed would be in one of them."""
    folder, _ = runs
    whole, cut = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)
        for run in sorted((folder / "lightning_logs").iterdir())
    )
    assert whole["epoch"] == cut["epoch"] == 3
    assert whole["lr_schedulers"] == cut["lr_schedulers"]
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(whole[part][name], cut[part][name]) for name in whole[part]), part
    momenta = [[state["momentum_buffer"] for state in c["optimizer_states"][0]["state"].values()] for c in (whole, cut)]
    assert all(torch.equal(one, other) for one, other in zip(*momenta, strict=True))


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_its_own_folder(runs):
    """So the best checkpoint so far is remembered, and the curves are one."""
    folder, _ = runs
    whole, cut = sorted((folder / "lightning_logs").iterdir())
    curves = []
    for run in (whole, cut):
        events = EventAccumulator(str(run))
        events.Reload()
        curves.append([(event.step, event.value) for event in events.Scalars("val/loss")])
    assert curves[0] == curves[1]
    assert len(curves[0]) == 4


def write_checkpoint(path, content, age_s=0):
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    os.utime(path, (time.time() - age_s,) * 2)


def test_last_is_the_newest_of_the_image_size(tmp_path):
    for name, age_s in (("resnet18_32_a", 10), ("resnet18_32_b", 5), ("resnet18_32_c", 20), ("resnet18_320_d", 0)):
        write_checkpoint(
            tmp_path / name / "checkpoints/last.ckpt", {"global_step": 7, "loops": {}, "state_dict": {}}, age_s
        )
    found = open_checkpoint("last", tmp_path, "resnet18_32_")
    assert (found.run, found.step) == ("resnet18_32_b", 7)


@pytest.mark.parametrize(("state", "flags"), [({"averaging_state": {}}, []), ({}, ["--ema_decay", 0.9])])
def test_averaging_is_not_begun_or_dropped_within_a_run(state, flags, run_training, tmp_path):
    """Training would go on from the averaged weights as if they were the last ones."""
    content = {"global_step": 7, "loops": {}, "state_dict": {}, **state}
    write_checkpoint(tmp_path / "lightning_logs/resnet18_32_a/checkpoints/last.ckpt", content)
    done = run_training("fit", "--data.image_size", 32, "--ckpt_path", "last", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m training: error: --ema_decay: give it to all parts of a run or to none")


def test_without_a_run_last_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"--ckpt_path: no run resnet18_32_\*"):
        last_checkpoint(tmp_path, "resnet18_32_")


def test_plain_weights_are_no_state_to_resume_from(tmp_path):
    write_checkpoint(tmp_path / "weights/a.pth", {"fc.weight": torch.zeros(1)})
    with pytest.raises(TrainingError, match=r"a\.pth: holds no state of a training.*--model\.init_from"):
        open_checkpoint(str(tmp_path / "weights/a.pth"), tmp_path, "")
