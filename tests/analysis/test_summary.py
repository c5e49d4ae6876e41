from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.cells import build_cells
from analysis.columns import COLUMNS, explain_telemetry
from analysis.saturation import find_saturation, saturation_batch
from analysis.study import Study, judge
from analysis.summary import summarise
from harness.schema import Row
from tests.analysis import synthetic

EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]


def table_of(rows: list[Row]) -> pd.DataFrame:
    return summarise(build_cells(rows), {})


def exact(model: synthetic.Model, batch: int, device_ms: list[float], **changes: object) -> Row:
    return synthetic.make_row(model, 224, batch, samples={"device_ms": device_ms}, same_as={}, **changes)


def test_times_follow_the_definitions() -> None:
    line = table_of([exact(EAGER, 4, [float(v) for v in (*range(1, 20), 1000)], flops_per_image=2_000_000_000)]).iloc[0]
    assert line["mean_ms"] == pytest.approx(10.5)
    assert line["fps"] == pytest.approx(4 * 1000 / 10.5)
    assert line["ms_per_image"] == pytest.approx(10.5 / 4)
    assert line["tflops_per_s"] == pytest.approx(2e9 * 4 * 1000 / 10.5 / 1e12)
    assert line["std_ms"] == pytest.approx(np.std([*range(1, 20), 1000], ddof=1))
    assert line["std_trimmed_ms"] == pytest.approx(np.std(range(3, 19), ddof=1))


def test_speedup_is_baseline_time_over_own_time_at_the_same_size_and_batch() -> None:
    rows = [exact(EAGER, 1, [10.0, 10.1] * 10), exact(FAST, 1, [5.0, 5.05] * 10), exact(EAGER, 2, [40.0] * 20)]
    line = table_of(rows).set_index(["contender", "batch_size"]).loc[("onnx_runtime/default/fp32", 1)]
    assert line["speedup"] == pytest.approx(2.0)
    assert line["speedup_low"] < 2.0 < line["speedup_high"]
    assert line["verdict"] == "faster"


def test_another_clock_gives_no_speedup() -> None:
    rows = [exact(EAGER, 1, [10.0, 10.1] * 10), exact(FAST, 1, [5.0, 5.1] * 10, clock="cuda_events")]
    line = table_of(rows).set_index("contender").loc["onnx_runtime/default/fp32"]
    assert math.isnan(line["speedup"])
    assert line["verdict"] == ""


def test_rows_without_a_rank_keep_their_reason_and_get_no_numbers(study: Study) -> None:
    line = study.table.set_index("contender").loc["onnx_runtime/default/int8"]
    assert line["status"] == "failed_parity"
    assert line["reason"] == "top-1 agreement 0.71 below 0.95"
    assert pd.isna(line["fps"])
    assert pd.isna(line["speedup"])


def test_cells_beside_a_missing_baseline_get_no_speedup(study: Study) -> None:
    cells = study.table.query("image_size == 384 and batch_size == 8")
    assert cells["speedup"].isna().all()
    assert cells["ranked"].sum() == len(synthetic.CPU) - 1


def test_rounds_are_averaged_and_their_spread_widens_the_interval() -> None:
    one = table_of([exact(EAGER, 1, [10.0, 10.1] * 20)]).iloc[0]
    rounds = [exact(EAGER, 1, [m, m + 0.1] * 20, round_=r) for r, m in enumerate((9.0, 10.0, 11.0), start=1)]
    three = table_of(rounds).iloc[0]
    assert three["mean_ms"] == pytest.approx(one["mean_ms"])
    assert three["rounds"] == 3
    assert three["mean_high_ms"] - three["mean_low_ms"] > 10 * (one["mean_high_ms"] - one["mean_low_ms"])


def test_a_cell_with_one_failed_round_is_unstable_and_says_which() -> None:
    rows = [exact(EAGER, 1, [10.0] * 10), synthetic.failed_row(EAGER, 224, 1, "timeout", "no answer", round_=2)]
    line = table_of(rows).iloc[0]
    assert (line["status"], line["rounds"]) == ("unstable", 1)
    assert line["reason"] == "round 2: timeout: no answer"


@pytest.mark.parametrize("failed", [1, 3])
def test_what_other_rounds_know_is_kept_where_one_failed(failed: int) -> None:
    rows = [exact(EAGER, 1, [10.0] * 10, round_=r) for r in (1, 2, 3) if r != failed]
    rows.append(synthetic.failed_row(EAGER, 224, 1, "timeout", "no answer", round_=failed))
    line = table_of(rows).iloc[0]
    assert (line["accuracy"], line["load_ms"]) == (rows[0].parity.accuracy, rows[0].load_ms)
    assert line["load_ms"] > 0


def test_every_column_has_a_meaning_and_telemetry_follows(study: Study) -> None:
    extra = list(study.table.columns[len(COLUMNS) :])
    assert list(study.table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert extra == ["parent_cpu_percent", "worker_cpu_percent"]


@pytest.mark.parametrize(("window_s", "known"), [(0.1, False), (0.2, True)])
def test_rates_read_over_less_than_nvml_looks_back_are_left_out(window_s: float, known: bool) -> None:
    telemetry = {"gpu_utilization_percent": 24.0, "power_w": 600.0, "load_window_s": window_s}
    line = table_of([replace(exact(EAGER, 1, [10.0] * 10), telemetry=telemetry)]).iloc[0]
    assert line["power_w"] == 600.0
    assert ("gpu_utilization_percent" in line) is known


@pytest.mark.parametrize(
    ("process_mb", "allocator_mb", "expected"),
    [
        ([931.1], [2346.4], (2346.4, "allocator")),  # read while samples were taken alone: eager fp32, 512 px, batch 1
        ([2700.0], [2346.4], (2700.0, "process")),
        ([2500.0, 2700.0], [2346.4, 2346.4], (2700.0, "process")),
        ([931.1, 2700.0], [2800.0, 2346.4], (2800.0, "allocator")),
        ([918.6], [None], (918.6, "process")),
    ],
)
def test_a_process_has_no_less_memory_than_its_allocator(
    process_mb: list[float], allocator_mb: list[float | None], expected: tuple[float, str]
) -> None:
    """The larger of the two, and of the rounds the largest: a mean of peaks is nobody's peak."""
    rows = [
        replace(
            exact(EAGER, 1, [10.0] * 10, round_=number),
            gpu_memory_mb=own,
            telemetry={"gpu_process_memory_mb": seen, "gpu_memory_source": "process"},
        )
        for number, (seen, own) in enumerate(zip(process_mb, allocator_mb, strict=True), start=1)
    ]
    line = table_of(rows).iloc[0]
    assert (line["gpu_process_memory_mb"], line["gpu_memory_source"]) == expected


def test_columns_that_are_no_means_do_not_say_so() -> None:
    assert "largest over rounds" in explain_telemetry("gpu_process_memory_mb")
    assert "mean over rounds" in explain_telemetry("power_w")
    assert "mean" not in explain_telemetry("gpu_memory_source")


def test_memory_of_a_process_that_nobody_saw_stays_unknown() -> None:
    line = table_of([replace(exact(EAGER, 1, [10.0] * 10), gpu_memory_mb=2346.4)]).iloc[0]
    assert "gpu_process_memory_mb" not in line
    assert line["gpu_memory_mb"] == 2346.4


def test_the_same_rows_give_the_same_numbers(study: Study) -> None:
    rows = list(reversed(study.run.rows))
    again = judge(replace(study.run, rows=rows))
    pd.testing.assert_frame_equal(again.table, study.table)
    pd.testing.assert_frame_equal(again.saturation, study.saturation)


def test_saturation_batch_of_a_known_curve() -> None:
    """The curve b / (1 + b) gives 0.5, 0.8, 0.9412, 0.9697, 0.9846; the last is best, 95% of it is 0.9354."""
    batches = np.array([1, 4, 16, 32, 64])
    assert saturation_batch(batches, batches / (1 + batches)) == 16


def test_saturation_has_an_interval_and_says_when_it_is_not_reached() -> None:
    linear = [exact(EAGER, b, [10.0, 10.1] * 10) for b in (1, 2, 4)]
    flat = [exact(FAST, b, [10.0 * b, 10.1 * b] * 10) for b in (1, 2, 4)]
    found = find_saturation(build_cells([*linear, *flat])).set_index("contender")
    growing, level = found.loc["pytorch/eager/fp32"], found.loc["onnx_runtime/default/fp32"]
    assert (growing["saturation_batch"], growing["reached"]) == (4, False)
    assert growing["underfed_ratio"] == pytest.approx(4.0)
    assert (level["saturation_batch"], level["reached"]) == (1, True)
    assert (level["low"], level["high"]) == (1, 1)


def test_saturation_interval_holds_both_batches_when_the_curve_cannot_tell() -> None:
    """The smaller batch gives 95% of the best within a noise of 2%: either may be the answer."""
    rng = np.random.default_rng(2)
    rows = [
        exact(EAGER, b, synthetic.noisy(t, 0.02, 20, rng)) for b, t in ((1, 10.0 / 0.95), (2, 20.0))
    ]  # fmt: skip
    point = find_saturation(build_cells(rows)).iloc[0]
    assert (point["low"], point["high"]) == (1, 2)
