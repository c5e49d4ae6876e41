"""Bounds worked out by hand, and what a run without ceilings or layers says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.cells import build_cells
from analysis.hardware import Hardware, find_hardware
from analysis.peaks import find_peak
from analysis.roofline import breaks_bound, find_bound
from analysis.study import Study
from analysis.summary import summarise
from tests.analysis import synthetic

COMPUTE = {"flops": 4000, "input_elements": 1, "output_elements": 1, "weight_elements": 0, "extra_input_elements": 0}
MEMORY = {
    "flops": 0,
    "input_elements": 600,
    "output_elements": 300,
    "weight_elements": 100,
    "extra_input_elements": 100,
}
TERA, GIGA = 1e-9, 1e-6  # ceilings that make a unit of work take a millisecond: 1000 FLOP/s, 1000 bytes/s


def test_each_layer_takes_the_longer_of_its_arithmetic_and_its_traffic() -> None:
    """4000 FLOP at 1000 FLOP/s and 1100 elements of 2 bytes at 1000 bytes/s: 4 s + 2.2 s."""
    bound = find_bound([COMPUTE, MEMORY], 1, "fp16", TERA, GIGA)
    assert bound.fps == pytest.approx(1 / 6.2)
    assert bound.compute_fps == pytest.approx(1 / 4)
    assert bound.memory_share == pytest.approx(2.2 / 6.2)
    assert bound.limiter == "compute-bound"


def test_weights_are_read_once_per_batch() -> None:
    bound = find_bound([{**MEMORY, "flops": 1}], 10, "fp32", TERA, GIGA)
    assert bound.fps == pytest.approx(10 / (4 * (10 * 1000 + 100) / 1000))
    assert bound.limiter == "bandwidth-bound"


@pytest.mark.parametrize(("precision", "share"), [("fp32", 2.0), ("fp16", 1.0), ("int8", 0.5)])
def test_traffic_follows_the_width_of_the_precision(precision: str, share: float) -> None:
    half = find_bound([{**MEMORY, "flops": 1}], 1, "fp16", TERA, GIGA).fps
    assert half / find_bound([{**MEMORY, "flops": 1}], 1, precision, TERA, GIGA).fps == pytest.approx(share)


def test_only_fp32_is_allowed_the_savings_of_winograd() -> None:
    bound = find_bound([COMPUTE], 1, "fp32", TERA, GIGA)
    assert not breaks_bound(2.2 * bound.compute_fps, bound, "fp32")
    assert breaks_bound(2.3 * bound.compute_fps, bound, "fp32")
    assert breaks_bound(1.01 * bound.compute_fps, bound, "fp16")


def test_without_ceilings_and_layers_nothing_is_claimed() -> None:
    (line,) = summarise(build_cells([synthetic.make_row(synthetic.CPU[0], 224, 1)]), {}).to_dict("records")
    assert line["limiter"] == ""
    assert all(line[name] is None or line[name] != line[name] for name in ("bound_fps", "mfu_peak_percent"))


def _hardware() -> Hardware:
    layers = {224: [{**COMPUTE, "flops": int(3.628e9)}]}
    return Hardware(find_peak("NVIDIA H200"), {"fp16": 790.0}, 4200.0, layers)


def _line(**changes: object) -> dict:
    row = synthetic.make_row(synthetic.GPU[2], 224, 64, clock="cuda_events", **changes)
    (line,) = summarise(build_cells([row]), {}, _hardware()).to_dict("records")
    return line


def test_shares_of_peak_and_of_the_measured_ceiling() -> None:
    line = _line()
    assert line["mfu_peak_percent"] == pytest.approx(100 * line["tflops_per_s"] / 989.4)
    assert line["mfu_ceiling_percent"] == pytest.approx(100 * line["tflops_per_s"] / 790)
    assert line["roofline_percent"] == pytest.approx(100 * line["fps"] / line["bound_fps"])
    assert line["above_bound"] is False


@pytest.mark.parametrize(
    ("convolutions", "expected"),
    [({}, {"fp32": 0.19, "bf16": 0.41}), ({"fp32": 0.21, "bf16": 0.4}, {"fp32": 0.21, "bf16": 0.41})],
)
def test_the_ceiling_is_the_best_of_products_and_convolutions(
    study: Study, convolutions: dict[str, float], expected: dict[str, float]
) -> None:
    """A file of before, which has products alone, is read as it was."""
    ceilings = {"matmul_tflops": {"fp32": 0.19, "bf16": 0.41}, "copy_gb_per_s": 29.0}
    if convolutions:
        ceilings["convolution_tflops"] = convolutions
    assert find_hardware(replace(study.run, ceilings=ceilings)).measured == expected


def test_a_precision_without_a_measured_ceiling_takes_the_published_peak() -> None:
    bound = _hardware().bound(224, 1, "int8")
    assert bound is not None
    assert bound.compute_fps == pytest.approx(1978.9e12 / 3.628e9, rel=1e-6)


@pytest.mark.parametrize(
    ("enqueue_share", "graph", "limiter"),
    [(0.95, False, "launch-bound"), (0.5, False, "compute-bound"), (0.95, True, "compute-bound")],
)
def test_the_host_sets_the_pace_when_enqueueing_takes_as_long_as_the_device(
    enqueue_share: float, graph: bool, limiter: str
) -> None:
    mean = synthetic.latency_ms(synthetic.GPU[2], 224, 64)
    line = _line(telemetry={"enqueue_ms": enqueue_share * mean * 1.01}, executed={"graph": graph})
    assert line["limiter"] == limiter


def test_a_cell_faster_than_its_arithmetic_is_called_a_fault() -> None:
    assert _line(factor=0.01)["above_bound"] is True


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("models.json", {"224": {"layers": [{}]}}, "224: layer 1: flops, input_elements, extra_input_elements, "),
        ("models.json", {"224": {"layers": [COMPUTE, {**MEMORY, "flops": "1"}]}}, "224: layer 2: flops: not a number"),
        ("models.json", {"224": {"layers": {}, "parameters": 1}, "small": {}}, "'small': not a model by its image"),
        ("models.json", {"224": {"layers": 5}}, "224: layers: not a list"),
        ("models.json", {"224": {"layers": [MEMORY]}}, "224: layers: no flops in any"),
        ("models.json", {"224": []}, "'224': not a model"),
        ("ceilings.json", {"matmul_tflops": {"fp32": "fast"}}, "matmul_tflops: not numbers by name"),
        ("ceilings.json", {"convolution_tflops": [1.0]}, "convolution_tflops: not numbers by name"),
        ("ceilings.json", {"copy_gb_per_s": "10"}, "copy_gb_per_s: not a number"),
    ],
)
def test_a_broken_file_of_limits_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: object, complaint: str
) -> None:
    folder = synthetic.write_run(tmp_path / "x", [synthetic.make_row(synthetic.CPU[0], 224, 1, count=3)])
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    for command in ("report", "recommend"):
        assert main([command, "--results_dir", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"python -m analysis: error: {folder / name}: {complaint}")
        assert error.endswith("; mend this, or delete the file: the roofline is left out then\n")
        assert error.count("\n") == 1
    assert not (folder / "report").exists()
