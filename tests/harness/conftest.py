"""A weights folder that needs no training and no torch, and the harness run on it."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import faulty  # noqa: E402 - found through the line above, as its own processes find it

from harness.__main__ import main  # noqa: E402
from harness.backends import BACKENDS  # noqa: E402
from tests.stage_process import SEARCH_PATH  # noqa: E402


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def weights_dir(tmp_path):
    """Weights and reference for 8 px, whose reference answers are those of the faulty backend."""
    folder = tmp_path / "weights"
    (folder / "reference").mkdir(parents=True)
    add_image_size(folder, 8)
    return folder


def add_image_size(folder, size):
    """Weights and reference of one more image size."""
    weights = folder / f"best_resnet18_{size}.pth"
    weights.write_bytes(b"any bytes: the faulty backend reads none")
    base = {"format": 1, "arch": "resnet18", "image_size": size, "num_classes": faulty.CLASSES}
    weights.with_suffix(".json").write_text(json.dumps({**base, "sha256": sha256(weights)}))
    images = np.random.default_rng(0).integers(0, 256, (16, 3, size, size), dtype=np.uint8)
    mean = std = np.full(3, 0.5, dtype=np.float32)
    logits = faulty.answer((images.astype(np.float32) / 255 - 0.5) / 0.5)
    reference = folder / "reference" / f"resnet18_{size}.npz"
    np.savez(reference, images=images, labels=logits.argmax(axis=1), logits=logits, mean=mean, std=std)
    manifest = {**base, "kind": "reference", "sha256": sha256(reference), "weights_sha256": sha256(weights)}
    reference.with_suffix(".json").write_text(json.dumps({**manifest, "flops_per_image": 1000}))


@pytest.fixture
def worker_script(tmp_path):
    """An 'interpreter' for the faulty backend: starts its worker under a memory limit of 1.5 GB."""
    script = tmp_path / "faulty.sh"
    script.write_text(
        f'#!/bin/sh\nulimit -v 1500000\nshift 2\nexec "{sys.executable}" "{HERE / "faulty.py"}" worker "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.fixture
def complete(tmp_path, weights_dir, worker_script):
    """Puts the folders, and the settings of a short run, before the harness's arguments."""

    def complete_arguments(*arguments):
        words = ["--weights_dir", str(weights_dir)]
        if "--resume" not in arguments:
            words += ["--environments", json.dumps({"faulty": str(worker_script)}), "--max_seconds", "1"]
            words += ["--min_seconds", "0", "--warmup_window_ms", "10", "--device", "cpu", "--batch_sizes", "[1,2]"]
            words += ["--self_check", "false", "--calibrate", "false"]
        return [*words, "--results_dir", str(tmp_path / "results"), *arguments]

    return complete_arguments


@pytest.fixture
def start_harness(complete):
    """Start the harness with the faulty backend as a process; keyword arguments go to Popen."""

    def start(*arguments, **options):
        command = [sys.executable, str(HERE / "faulty.py"), "harness", *complete(*arguments)]
        environment = {**os.environ, "PYTHONPATH": SEARCH_PATH}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT, "env": environment}
        return subprocess.Popen(command, **{**pipes, **options})

    return start


@pytest.fixture
def run_harness(start_harness):
    """Run it to its end: (exit status, stdout, stderr)."""

    def run(*arguments, **options):
        process = start_harness(*arguments, **options)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return run


@pytest.fixture
def faulty_here(monkeypatch):
    """The faulty backend in this process's table; what a run installs for signals is taken back afterwards."""
    monkeypatch.setitem(BACKENDS, "faulty", None)  # taken out of the table again afterwards
    faulty.register()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run_here(complete, faulty_here, monkeypatch, capsys):
    """Run it in this process: (exit status, stdout)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *complete(*arguments)])
        return main(), capsys.readouterr().out

    return run


@pytest.fixture
def refuse(complete, faulty_here, monkeypatch, capsys):
    """What it says, in this process, of arguments that it refuses: one line, with exit status 2."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *complete(*arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        err = capsys.readouterr().err
        assert (stopped.value.code, err.count("\n")) == (2, 1), err
        return err

    return run
