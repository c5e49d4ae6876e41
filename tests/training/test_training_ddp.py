"""Two processes train together: the same weights and metrics as one, written once, on loopback alone."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from torch.utils.data import BatchSampler, SequentialSampler

from tests.stage_process import SEARCH_PATH
from training.checkpoint import load_weights
from training.errors import TrainingError
from training.ranks import RankBatches, RankIndices

TINY = ["--data.image_size", 32, "--data.train_images", 80, "--data.val_images", 37, "--data.batch_size", 8,
        "--data.workers", 0, "--data.augment", "none", "--trainer.precision", "32-true",
        "--trainer.accelerator", "cpu", "--trainer.max_epochs", 4,
        "--trainer.check_val_every_n_epoch", 4]  # fmt: skip
TWO = ["--trainer.strategy", "ddp", "--trainer.devices", 2]


def start_training(*arguments, cwd):
    """The command line as a process: Lightning starts the other ranks with the same one."""
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def listening(process):
    """Addresses that the process and its children listen on."""
    found = set()
    try:
        for each in (process, *process.children(recursive=True)):
            found |= {c.laddr.ip for c in each.net_connections() if c.status == psutil.CONN_LISTEN}
    except psutil.Error:  # one has just ended
        return found
    return found


@pytest.fixture(scope="module")
def trained(run_training, tmp_path_factory):
    """The folder of both trainings, what the two processes said, and the addresses they listened on."""
    folder = tmp_path_factory.mktemp("ddp")
    process = start_training("fit", *TINY, *TWO, "--weights_dir", "two", cwd=folder)
    watched, addresses = psutil.Process(process.pid), set()
    while process.poll() is None:
        addresses |= listening(watched)
        time.sleep(0.05)
    out, err = process.communicate()
    assert process.returncode == 0, err
    alone = run_training("fit", *TINY, "--trainer.accumulate_grad_batches", 2, "--weights_dir", "one", cwd=folder)
    assert alone.returncode == 0, alone.stderr
    return folder, (out, err), addresses


@pytest.mark.slow
def test_two_processes_end_with_the_parameters_of_one_that_accumulates_two_batches(trained):
    """20 steps, fp32. BatchNorm's running statistics are those of rank 0 alone, so they are no parameters here."""
    folder, (out, _), _ = trained
    assert "step 20 of 20" in out
    two, one = (load_weights(folder / name / "best_resnet18_32.pth")[0] for name in ("two", "one"))
    names = [name for name in one if name.endswith(("weight", "bias"))]
    assert len(names) == 62  # of ResNet-18
    assert max((one[name] - two[name]).abs().max() for name in names) <= 1e-5


@pytest.mark.slow
def test_validation_over_two_processes_says_what_one_says(run_training, trained):
    """37 images do not divide by two: none is counted twice."""
    folder, _, _ = trained
    two = start_training("validate", *TINY, *TWO, "--weights_dir", "two", cwd=folder)
    one = run_training("validate", *TINY, "--weights_dir", "two", cwd=folder)
    out, err = two.communicate()
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + err
    tables = (one.stdout, out)
    said = [[line.split("│")[2].strip() for line in table.splitlines() if "val/" in line] for table in tables]
    assert len(said[0]) == 2, "accuracy and loss"
    assert [float(value) for value in said[0]] == pytest.approx([float(value) for value in said[1]], rel=1e-6)


@pytest.mark.slow
def test_one_process_writes_the_weights_and_speaks(trained):
    """Lines for validation, input pipeline and end; the older pair would be there if two had written."""
    folder, (out, err), _ = trained
    assert err == ""
    assert len(out.splitlines()) == 3
    assert not list((folder / "two").glob("*.previous.*"))
    _, metadata = load_weights(folder / "two/best_resnet18_32.pth")
    assert metadata.data["val_images"] == 37


@pytest.mark.slow
def test_processes_of_one_machine_listen_on_loopback_alone(trained):
    """PyTorch's own store would take every interface."""
    _, _, addresses = trained
    assert addresses
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_ranks_share_the_batches_of_one_order():
    """Rank r of n takes batches r, r + n, ...; what does not fill a round is left out on all."""
    batches = BatchSampler(SequentialSampler(range(22)), 4, drop_last=False)
    shares = [list(RankBatches(batches, rank, 2)) for rank in range(2)]
    assert shares == [[[0, 1, 2, 3], [8, 9, 10, 11], [16, 17, 18, 19]], [[4, 5, 6, 7], [12, 13, 14, 15], [20, 21]]]
    assert [list(RankBatches(batches, rank, 4)) for rank in (0, 3)] == [[[0, 1, 2, 3]], [[12, 13, 14, 15]]]


def test_every_image_is_validated_once_over_all_ranks():
    """Uneven shares, no repetition."""
    shares = [list(RankIndices(range(7), rank, 3)) for rank in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(7))


def test_too_few_images_for_the_processes_are_refused_by_flag():
    """Rather than a process that waits for ever."""
    with pytest.raises(TrainingError, match=r"--data\.val_images: 2 images cannot be shared by 3 processes"):
        RankIndices(range(2), 0, 3)
    with pytest.raises(TrainingError, match=r"--data\.batch_size: an epoch of 1 batches"):
        RankBatches(BatchSampler(SequentialSampler(range(4)), 4, drop_last=False), 0, 2)
