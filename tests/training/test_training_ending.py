"""SIGTERM and Ctrl-C end a program within seconds, with one line, nothing lost and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
import torch

from tests.processes import running
from tests.stage_process import SEARCH_PATH

PREAMBLE = """
import subprocess, time
from training import ending
def tell(): print("ready", flush=True)
"""


def start(arguments, cwd):
    """A session of its own, with its temporary files under `cwd`."""
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH, "OMP_NUM_THREADS": "1", "TMPDIR": str(cwd)}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        # a background job of a shell ignores SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs here
    )  # fmt: skip


def stop(process, send=os.kill, number=signal.SIGTERM):
    """Its exit status, its last line on stderr and the seconds it took; its own processes must have ended too."""
    family = psutil.Process(process.pid).children(recursive=True)
    started = time.perf_counter()
    send(process.pid, number)
    _, said = process.communicate(timeout=60)
    took_s = time.perf_counter() - started
    assert running(family, timeout_s=5) == []
    return process.returncode, said.splitlines()[-1], took_s


def compiles(process):
    assert process.poll() is None, process.stderr.read()
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if child.name().startswith(("cc1plus", "g++")):
                return True
    return False


def run_code(code, cwd, number=signal.SIGTERM):
    process = start(["-c", PREAMBLE + code], cwd)
    assert process.stdout.readline() == "ready\n"
    return stop(process, number=number)[:2]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_signal_ends_work_after_its_tidying_up_with_the_line_and_the_status_of_a_shell(number, status, tmp_path):
    code = """
def work():
    try: tell(); time.sleep(60)
    finally: open("tidied", "w").close()
ending.run_until_ended(work, "the line")
"""
    assert run_code(code, tmp_path, number) == (status, "the line")
    assert (tmp_path / "tidied").exists()


def test_what_libraries_make_of_the_signal_does_not_hide_it(tmp_path):
    """A loader process gets it too, and its parent then raises an error of its own."""
    code = """
def work():
    try: tell(); time.sleep(60)
    finally: raise RuntimeError("DataLoader worker is killed")
ending.run_until_ended(work, "the line")
"""
    assert run_code(code, tmp_path) == (143, "the line")


def test_processes_that_it_started_end_with_it_and_nothing_waits_at_exit(tmp_path):
    code = """
import atexit
atexit.register(time.sleep, 60)
def work():
    subprocess.Popen(["sleep", "60"])
    tell()
    time.sleep(60)
ending.run_until_ended(work, "the line")
"""
    assert run_code(code, tmp_path) == (143, "the line")


def test_work_that_does_not_come_back_is_ended_all_the_same(tmp_path):
    code = """
ending.PATIENCE_S = 0.2
def work():
    tell()
    while True:
        try: time.sleep(60)
        except BaseException: pass
ending.run_until_ended(work, "the line")
"""
    assert run_code(code, tmp_path) == (143, "the line")


def test_without_a_signal_results_and_errors_pass_and_the_handler_goes():
    from training.ending import run_until_ended

    before = signal.getsignal(signal.SIGTERM)
    assert run_until_ended(lambda: 7, "") == 7
    with pytest.raises(ZeroDivisionError):
        run_until_ended(lambda: 1 // 0, "")
    assert signal.getsignal(signal.SIGTERM) is before


TRAINING = ["-m", "training", "fit", "--data.image_size", 32, "--data.train_images", 96, "--data.val_images", 40,
            "--data.batch_size", 8, "--trainer.max_epochs", 500, "--trainer.accelerator", "cpu", "--data.workers", 1,
            "--model.arch", "shufflenet_v2_x0_5"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_ends_at_once_and_its_last_checkpoint_is_whole(send, number, status, tmp_path):
    """Alone, as `kill` sends it, and to the whole group, as `timeout` and a terminal do."""
    process = start(TRAINING, tmp_path)
    while not (line := process.stdout.readline()).startswith("epoch 2:"):
        assert line, process.stderr.read()
    assert stop(process, send, number)[:2] == (
        status,
        "python -m training: ended; a training goes on with --ckpt_path last",
    )
    (last,) = tmp_path.glob("lightning_logs/*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] >= 12
    assert not (tmp_path / "weights").exists()


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_speed_measurement_ends_while_it_compiles_and_keeps_what_it_had(send, tmp_path):
    """Lightning's handler would wait for the end of the first step, and that for the compilers."""
    process = start(
        ["-m", "training.speed", "--device", "cpu", "--image_size", 32, "--batch_size", 8, "--modes", "[eager,compile]",
         "--measurements", "[step]", "--caches", "[memory]", "--seconds", 0.2, "--train_images", 8, "--workers", 0,
         "--output", "speed.jsonl"],
        tmp_path,
    )  # fmt: skip
    assert process.stdout.readline().startswith("32 px, step, eager")
    while not compiles(process):
        time.sleep(0.05)
    time.sleep(1)
    status, line, took_s = stop(process, send)
    assert (status, line) == (143, "python -m training.speed: ended; what was measured is in speed.jsonl")
    assert took_s < 10
    (record,) = map(json.loads, (tmp_path / "speed.jsonl").read_text().splitlines())
    assert record["mode"] == "eager"
    assert list(tmp_path.glob("training-speed-*")) == []
