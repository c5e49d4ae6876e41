"""Every backend on a real GPU: answers, labels, graphs, streams. Skipped by name where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.backends import BACKENDS
from harness.backends.onnx_runtime import choose_cuda_options
from harness.clocks import make_clock
from harness.measure import MIN_COVERAGE
from harness.schema import read_rows

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
PRECISIONS = {"pytorch": ("fp32", "tf32", "fp16", "bf16"), "onnx_runtime": ("fp32", "tf32", "fp16")}
CAPTURED = {"pytorch": ("graph", "compile", "compile_dynamic", "fused"), "onnx_runtime": ("tuned",)}


@pytest.mark.timeout(900)  # 16 compilations of 10 s to 15 s each, eight at a time
@pytest.mark.parametrize("backend", PRECISIONS)
def test_every_variant_and_precision_answers_as_labelled(exported, tmp_path, backend):
    """Two batch sizes each at 64 px: measured, in parity, on the clock's stream, in a graph where it says so."""
    assert exported.export("--to", "fp16") == 0
    variants = [variant for variant in BACKENDS[backend].variants if variant != "tensorrt"]  # needs its libnvinfer
    contenders = [f"{backend}/{v}/{p}" for v in variants for p in PRECISIONS[backend]]
    command = [
        sys.executable, "-m", "harness", "--device", "cuda", "--weights_dir", exported.weights_dir, "--run_id", "run",
        "--results_dir", tmp_path, "--backends", json.dumps(contenders), "--batch_sizes", "[1, 4]",
        "--min_seconds", "0.05", "--max_seconds", "0.5", "--boundary_seconds", "0.02", "--calibrate", "false",
        "--self_check", "false", "--parallel_builds", "8",
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True, timeout=840)
    rows = list(read_rows((tmp_path / "run" / "rows.jsonl").read_text()))
    wrong = [f"{row.job}: {row.status}: {row.reason}" for row in rows if row.status not in ("ok", "unstable")]
    assert not wrong, "\n".join(wrong)
    assert len(rows) == 2 * len(contenders)
    for row in rows:
        assert set(row.samples) == {"device_ms", "transfer_ms", "host_ms", "throughput_fps"}
        assert row.executed["graph"] is (row.job.variant in CAPTURED[backend])
        if backend == "onnx_runtime":
            asked = choose_cuda_options(row.job.precision, row.job.variant, stream=0)
            settings = row.executed["provider_options"]
            assert settings == {name: asked.get(name, setting) for name, setting in settings.items()}


def test_work_on_another_stream_is_caught():
    """Events of the clock's stream bracket nothing: the wall clock says so."""
    torch = pytest.importorskip("torch")
    clock = make_clock("cuda")
    elsewhere = torch.cuda.Stream()
    matrix = torch.randn(4096, 4096, device="cuda")

    def run_elsewhere():
        with torch.cuda.stream(elsewhere):
            matrix @ matrix

    for run in (lambda: matrix @ matrix, run_elsewhere):  # the first product of a stream makes its handle and workspace
        clock.window(run, 1)
    assert coverage(clock.window(lambda: matrix @ matrix, 20)) > MIN_COVERAGE
    assert coverage(clock.window(run_elsewhere, 20)) < MIN_COVERAGE


def coverage(window):
    return sum(window.samples_ms) / window.wall_ms
