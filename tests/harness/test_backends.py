"""Every backend of the table, for real, on an exported 64 px network: one run, many questions of its rows.

torch.compile is left to harness/configs/ladder.yaml: it needs a C++ compiler and half a minute.
"""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.schema import read_rows

CONTENDERS = [
    "pytorch/eager/fp32", "pytorch/channels_last/fp32", "pytorch/channels_last/bf16", "pytorch/eager/fp16",
    "onnx_runtime/default/fp32", "onnx_runtime/default/int8", "onnx_runtime/default/bf16",
    "openvino/default/fp32", "openvino/default/bf16", "openvino/default/int8",
]  # fmt: skip
UNSUPPORTED = {"pytorch/eager/fp16", "onnx_runtime/default/bf16"}
INPUT_TYPES = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8", "s8"}}


def harness(*arguments):
    command = [sys.executable, "-m", "harness", "--device", "cpu", "--min_seconds", "0.1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def rows(exported_once, tmp_path_factory):
    """Rows by contender of one real run."""
    results = tmp_path_factory.mktemp("results")
    done = harness(
        "--weights_dir", exported_once.weights_dir, "--results_dir", results, "--run_id", "r", "--max_seconds", "0.5",
        "--backends", json.dumps(CONTENDERS), "--batch_sizes", "[3]", "--min_samples", "5", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = list(read_rows((results / "r" / "rows.jsonl").read_text()))
    return {row.job.contender: row for row in found}


def test_every_contender_of_the_table_has_its_rows(rows):
    """Measured, or said to be unsupported; the self-check too."""
    assert {contender.split("/")[0] for contender in CONTENDERS} == set(BACKENDS)
    for contender in [*CONTENDERS, "pytorch/eager+again/fp32"]:
        row = rows[contender]
        expected = ("unsupported",) if contender in UNSUPPORTED else ("ok", "unstable")
        assert row.status in expected, f"{row.job}: {row.status} {row.reason}"


def test_evidence_fits_the_label(rows):
    """Input types of convolutions, as the libraries themselves report them."""
    for contender, row in rows.items():
        types = row.executed.get("compute_dtypes")
        if types:
            fitting = sum(types.get(name, 0) for name in INPUT_TYPES[row.job.precision])
            assert fitting >= 0.9 * sum(types.values()), f"{contender}: {types}"
        elif row.status in ("ok", "unstable"):
            assert row.executed["nodes"], contender


def test_reduced_precision_leaves_its_fingerprint(rows):
    """The fp32 backends agree to rounding; bf16 and int8 differ by far more, and keep the top class."""
    for row in rows.values():
        if row.parity is not None:
            low, high = (0, 5e-6) if row.job.precision == "fp32" else (1e-4, 0.3)
            assert low <= row.parity.rel_l2 <= high, f"{row.job}: {row.parity}"


def test_memory_format_and_threads_are_read_back(rows):
    """What ran, not what was asked for."""
    assert rows["pytorch/eager/fp32"].executed["memory_format"] == "contiguous"
    assert rows["pytorch/channels_last/fp32"].executed["memory_format"] == "channels_last"
    assert rows["pytorch/eager/fp32"].executed["threads"] == 1
    providers = rows["onnx_runtime/default/fp32"].executed["nodes"]
    assert all(name.startswith("CPUExecutionProvider:") for name in providers)


def test_rows_name_versions_and_files(rows):
    """A row can be traced to the library versions and the bytes it ran."""
    row = rows["onnx_runtime/default/fp32"]
    import onnxruntime

    assert row.versions["onnxruntime"] == onnxruntime.__version__
    assert row.artifact == "resnet18_64_fp32.onnx"
    assert len(row.artifact_sha256) == len(row.weights_sha256) == 64
    assert row.cpu_memory_mb > 50


def test_waiting_parent_uses_less_than_one_percent_of_a_core(rows):
    """Measured while each job ran."""
    for row in rows.values():
        if row.telemetry:
            assert row.telemetry["parent_cpu_percent"] < 1.0


LOOP = """
import json, sys, time, torch, torchvision
weights, threads, batch, size, count = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
model = torchvision.models.resnet18(num_classes=10).eval()
model.load_state_dict(torch.load(weights, weights_only=True))
images = torch.randn(batch, 3, size, size)
times = []
with torch.inference_mode():
    for _ in range(count):
        start = time.perf_counter()
        model(images)
        times.append(1000 * (time.perf_counter() - start))
print(json.dumps(times[count // 3:]))
"""


@pytest.mark.alone
def test_an_independent_loop_measures_the_same(exported_once, tmp_path):
    """A loop of a dozen lines that shares no code with the harness: medians within 5%.

    Other processes on the machine disturb both at different moments, so up to five attempts are made.
    """
    loop = [sys.executable, "-c", LOOP, str(exported_once.weights), "2", "8", "64", "60"]
    ratios = []
    for attempt in range(5):
        done = harness(
            "--weights_dir", exported_once.weights_dir, "--results_dir", tmp_path, "--run_id", f"r{attempt}",
            "--backends", "[pytorch]", "--batch_sizes", "[8]", "--min_samples", "40", "--threads", "2",
            "--self_check", "false", "--max_seconds", "3",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        row = next(read_rows((tmp_path / f"r{attempt}" / "rows.jsonl").read_text()))
        times = json.loads(subprocess.run(loop, capture_output=True, text=True, check=True, timeout=120).stdout)
        ratios.append(np.median(row.samples["device_ms"]) / np.median(times))
        if 0.95 <= ratios[-1] <= 1.05:
            return
        time.sleep(2)
    pytest.fail(f"harness over independent loop: {ratios}")
