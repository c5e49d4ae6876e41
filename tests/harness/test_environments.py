"""Any backend under any interpreter: who runs where, and what is said when it cannot."""

import json
import os
import stat
import subprocess
import sys

import pytest

from harness import environments
from harness.config import BenchConfig, parse_contender
from harness.environments import find_interpreter, find_tensorrt_versions, probe_tensorrt
from harness.schema import read_rows


@pytest.fixture
def script(tmp_path):
    """Write an executable shell script that stands for an interpreter; answers its path."""

    def write(name, body):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write


def test_tensorrt_finds_its_environment_by_itself(monkeypatch, tmp_path):
    """`.venv-tensorrt` where it exists; the config overrides; other backends are not moved."""
    monkeypatch.setattr(environments, "TENSORRT_PYTHON", tmp_path / "python")
    assert find_interpreter("tensorrt_engine", {}) == sys.executable
    (tmp_path / "python").touch()
    for backend in ("tensorrt_engine", "torch_trt", "torch_trt@again"):
        assert find_interpreter(backend, {}) == str(tmp_path / "python")
    assert find_interpreter("pytorch", {}) == sys.executable
    assert find_interpreter("torch_trt", {"torch_trt": "other"}) == "other"


def test_the_version_is_asked_of_the_interpreter_itself(script):
    """Whatever a library prints beside it; None when it cannot be imported, or nothing is there."""
    assert probe_tensorrt(str(script("fine", "echo noise; echo tensorrt 8.6.0; echo more"))) == "8.6.0"
    assert probe_tensorrt(str(script("broken", "echo oh >&2; exit 1"))) is None
    assert probe_tensorrt("/no/such/python") is None


def test_only_planned_backends_are_asked_and_only_on_a_gpu(script):
    """Two versions of one runtime in one run."""
    old, new = script("old", "echo tensorrt 8.6.0"), script("new", "echo tensorrt 11.1.0")
    config = BenchConfig(
        backends=["pytorch", "tensorrt_engine/fp16", "tensorrt_engine@new/fp16"],
        environments={"tensorrt_engine": str(old), "tensorrt_engine@new": str(new), "torch_trt": "/no/such/python"},
    )
    assert find_tensorrt_versions(config, "cuda") == {"tensorrt_engine": "8.6.0", "tensorrt_engine@new": "11.1.0"}
    assert find_tensorrt_versions(config, "cpu") == {}


def test_a_contender_may_name_an_environment_of_its_backend():
    """`pytorch@old` is pytorch, measured as another one."""
    assert parse_contender("pytorch@2.2/channels_last") == ("pytorch@2.2", "channels_last", "fp32")
    for text in ("pytorch@", "pytorch@a b", "caffe@2", "py/torch@x", "pytorch@../x"):
        with pytest.raises(ValueError, match="--backends"):
            parse_contender(text)
    with pytest.raises(ValueError, match="--environments caffe@2"):
        BenchConfig(environments={"caffe@2": "python"})


@pytest.mark.slow
def test_two_environments_of_one_backend_are_raced_in_one_table(run_harness, tmp_path, worker_script, script):
    """Each row names the versions of its own interpreter."""
    other = script("other.sh", f'FAULTY_VERSION=2 exec "{worker_script}" "$@"')
    interpreters = json.dumps({"faulty": str(worker_script), "faulty@other": str(other)})
    code, _, err = run_harness(
        "--backends", "[faulty/fine,faulty@other/fine]", "--environments", interpreters, "--run_id", "r"
    )
    assert (code, err) == (0, "")
    rows = list(read_rows((tmp_path / "results/r/rows.jsonl").read_text()))
    assert {(row.job.backend, row.versions["faulty"]) for row in rows} == {("faulty", "1"), ("faulty@other", "2")}


def find_python310():
    """A CPython 3.10 with NumPy: PYTHON310, or that of `.venv-tensorrt`."""
    for python in (os.environ.get("PYTHON310"), environments.TENSORRT_PYTHON, "python3.10"):
        code = "import numpy, sys; sys.exit(sys.version_info[:2] != (3, 10))"
        try:
            if python and subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0:
                return str(python)
        except OSError:
            continue
    return None


@pytest.mark.slow
def test_a_worker_runs_under_python_3_10(run_harness, tmp_path, worker_script):
    """The oldest interpreter that a backend may need: TensorRT 8.6 from PyPI."""
    python = find_python310()
    if python is None:
        pytest.skip("no CPython 3.10 with NumPy: set PYTHON310")
    worker_script.write_text(worker_script.read_text().replace(sys.executable, python))
    code, _, err = run_harness("--backends", "[faulty/fine]", "--run_id", "r")
    assert (code, err) == (0, "")
    rows = list(read_rows((tmp_path / "results/r/rows.jsonl").read_text()))
    assert {row.status for row in rows} <= {"ok", "unstable"}
    assert all(row.versions["python"].startswith("3.10.") for row in rows)
