"""How many devices: against Erlang's M/D/1 where calls take constant time, and by what batching must bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.decision.choice import Decision
from analysis.decision.queueing import Batcher
from analysis.decision.sizing import find_sizing, least
from harness.schema import Row
from tests.analysis import synthetic
from tests.analysis.decisions import EAGER, FAST, decided
from tests.analysis.queues import erlang_wait
from tests.analysis.synthetic import Model

SERVICE_MS = 10.0


def row_of(model: Model, batch: int, host_ms: float) -> Row:
    samples = {"device_ms": [host_ms, host_ms * 1.001] * 50, "host_ms": [host_ms] * 100}
    return synthetic.make_row(model, 224, batch, samples=samples, same_as={})


def constant(tmp_path: Path, times_ms: dict[int, float], **needs: object) -> Decision:
    return decided(tmp_path, [row_of(FAST, batch, time) for batch, time in times_ms.items()], **needs)


def fewest_of_m_d_1() -> int:
    return next(n for n in range(4, 20) if erlang_wait(3 / n, 30.0 / SERVICE_MS) >= 0.99)


def test_devices_without_batching_are_those_of_m_d_1(tmp_path: Path) -> None:
    """300 a second, 10 ms each, 99% within 40 ms: the fewest n whose M/D/1 queue at 3/n keeps a wait of 30 ms."""
    sizing = find_sizing(constant(tmp_path, {1: SERVICE_MS}), 300.0, 40.0)
    assert [plan.devices for plan in sizing.plans] == [fewest_of_m_d_1()]
    assert sizing.plans[0].fewer is not None
    assert sizing.plans[0].fewer.p99_ms > 40.0
    assert sizing.plans[0].peak_per_second == pytest.approx(100.0)


def test_batching_serves_what_single_calls_would_need_ten_devices_for(tmp_path: Path) -> None:
    """A call takes 10 ms with one image as with 64: one device takes 1,000 a second, nobody waits over one call."""
    sizing = find_sizing(constant(tmp_path, {1: SERVICE_MS, 64: SERVICE_MS}), 1000.0, 25.0)
    (plan,) = sizing.plans
    assert (plan.devices, plan.batcher) == (1, Batcher(64, 0.0))
    assert plan.forecast.p99_ms == pytest.approx(20.0, rel=0.02)
    assert plan.forecast.mean_batch == pytest.approx(10.0, rel=0.05)


def test_the_batch_limit_keeps_to_the_other_needs(tmp_path: Path) -> None:
    """Batch 64 takes 30 ms a call, which --max_host_ms 20 does not allow: the limit is 8."""
    decision = constant(tmp_path, {1: SERVICE_MS, 8: 15.0, 64: 30.0}, max_host_ms=20.0)
    assert {plan.batcher.max_batch for plan in find_sizing(decision, 400.0, 60.0).plans} == {8}


def test_an_approach_that_needs_more_devices_is_only_counted(tmp_path: Path) -> None:
    decision = decided(tmp_path, [row_of(FAST, 1, SERVICE_MS), row_of(EAGER, 1, 3 * SERVICE_MS)])
    sizing = find_sizing(decision, 300.0, 60.0)
    assert ([plan.option.key.backend for plan in sizing.plans], sizing.others) == (["onnx_runtime"], 1)


def test_a_p99_below_one_call_is_beyond_any_number_of_devices(tmp_path: Path) -> None:
    sizing = find_sizing(constant(tmp_path, {1: SERVICE_MS, 8: 20.0}), 50.0, 9.0)
    assert sizing.plans == []
    assert sizing.least_p99_ms == pytest.approx(SERVICE_MS)


def test_the_search_finds_the_first_that_keeps() -> None:
    for first in range(3, 60):
        assert least(lambda n, first=first: n >= first, 3, 100) == first  # type: ignore[misc]
    assert least(lambda n: n >= 50, 3, 50) == 50
    assert least(lambda n: n >= 51, 3, 50) is None
    assert least(lambda n: True, 9, 8) is None


def test_the_answer_is_printed_with_one_device_fewer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constant(tmp_path, {1: SERVICE_MS})
    arguments = ["recommend", "--results_dir", str(tmp_path / "results"), "--weights_dir", str(tmp_path / "weights")]
    assert main([*arguments, "--requests_per_second", "300", "--p99_ms", "40"]) == 0
    printed = capsys.readouterr().out
    assert f"{fewest_of_m_d_1()}\u00a0devices with ONNX Runtime fp32 at 224 px, batch 1 at most" in printed
    assert "With one device fewer: p99 " in printed
    assert main([*arguments, "--requests_per_second", "300", "--p99_ms", "9"]) == 1
    assert "takes 10.0 ms at p99: relax --p99_ms" in capsys.readouterr().out
