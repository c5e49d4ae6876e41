"""Every backend of the table, for real, on an exported 64 px network: one run, many questions of its rows.

torch.compile is left to harness/configs/ladder.yaml: it needs a C++ compiler and half a minute.
"""

import json
import subprocess
import sys

import pytest

from harness.backends import BACKENDS
from harness.backends.base import PROFILED
from harness.schema import read_rows

pytestmark = pytest.mark.slow

CONTENDERS = [
    "pytorch/eager/fp32", "pytorch/channels_last/fp32", "pytorch/channels_last/bf16", "pytorch/eager/fp16",
    "onnx_runtime/default/fp32", "onnx_runtime/default/int8",
    "onnx_runtime/tensorrt/fp16",
    "openvino/default/fp32", "openvino/default/bf16", "openvino/default/int8",
    "torch_trt/dynamo/fp16", "tensorrt_engine/default/fp16",
]  # fmt: skip
NOT_HERE = {
    "pytorch/eager/fp16": "unsupported", "onnx_runtime/tensorrt/fp16": "unsupported",
    "torch_trt/dynamo/fp16": "unavailable", "tensorrt_engine/default/fp16": "unavailable",
}  # fmt: skip
TRACED = {"pytorch/eager/fp32": "aten::conv2d", "onnx_runtime/default/fp32": "Conv"}
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
        "--calibrate", "false",
        "--profile", json.dumps([f"{contender}/64/3" for contender in TRACED]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for contender, operation in TRACED.items():
        path = results / "r" / "profiles" / f"{contender.replace('/', '-')}-64-3.json"
        content = json.loads(path.read_text())
        events = content["traceEvents"] if isinstance(content, dict) else content
        spans = [event for event in events if event.get("ph") == "X"]
        names = [span.get("args", {}).get("op_name", span["name"]) for span in spans]
        assert names.count(operation) == 20 * PROFILED, f"{contender}: ResNet-18 has 20 convolutions"
    found = list(read_rows((results / "r" / "rows.jsonl").read_text()))
    return {row.job.contender: row for row in found}


def test_every_contender_of_the_table_has_its_rows(rows):
    """Measured, or said to be unsupported; the self-check too."""
    assert {contender.split("/")[0] for contender in CONTENDERS} == set(BACKENDS)
    for contender in [*CONTENDERS, "pytorch/eager+again/fp32"]:
        row = rows[contender]
        expected = (NOT_HERE[contender],) if contender in NOT_HERE else ("ok", "unstable")
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
