"""The simulated queue against closed forms, and against SimPy running the same batcher on the same arrivals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.decision.queueing import Batcher, ServiceTable, forecast, poisson_arrivals, simulate
from tests.analysis.loopback import run_once
from tests.analysis.queues import erlang_wait, simpy_latencies

SERVICE_MS = 10.0
ALONE = Batcher(1)


def constant(**times_ms: float) -> ServiceTable:
    """`constant(b1=10.0, b8=20.0)`: every call of one image takes 10 ms, of eight 20 ms."""
    return ServiceTable({int(name[1:]): np.array([value]) for name, value in times_ms.items()})


def latencies(load: float, table: ServiceTable, batcher: Batcher = ALONE, count: int = 150_000) -> np.ndarray:
    """Latencies at `load` = arrival rate times the mean time of a call of one image."""
    rng = np.random.default_rng(4)
    arrivals = poisson_arrivals(1000 * load / table.mean_ms(1), count, rng)
    return simulate(arrivals, table, batcher, rng).latency_ms[count // 10 :]


def check_m_d_1(load: float, count: int, mean_within: float, p99_within: float) -> None:
    """The mean wait is Pollaczek and Khinchine's; the share that Erlang's distribution puts under the p99 is 99%.

    Tolerances are three standard deviations between seeds at load 0.8.
    """
    wait = latencies(load, constant(b1=SERVICE_MS), count=count) - SERVICE_MS
    assert wait.mean() == pytest.approx(load * SERVICE_MS / (2 * (1 - load)), rel=mean_within)
    p99 = float(np.percentile(wait, 99))
    assert erlang_wait(load, p99 / SERVICE_MS) == pytest.approx(0.99, abs=p99_within)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_constant_service_gives_the_mean_and_the_p99_of_m_d_1(load: float) -> None:
    check_m_d_1(load, 150_000, 0.05, 0.006)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_four_million_requests_come_closer(load: float) -> None:
    check_m_d_1(load, 4_000_000, 0.01, 0.0012)


def test_erlang_s_formula_is_written_down_right() -> None:
    """Its value at 0 is the share that need not wait, 1 - load; its mean is Pollaczek and Khinchine's."""
    assert erlang_wait(0.7, 0.0) == pytest.approx(0.3)
    grid = np.arange(0.0, 30.0, 0.05)
    mean = np.trapezoid([1 - erlang_wait(0.7, time) for time in grid], grid)
    assert mean == pytest.approx(0.7 / (2 * 0.3), rel=0.002)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_exponential_service_gives_m_m_1(load: float) -> None:
    """The time in the system is exponential with rate mu - lambda (here mu is 1 per 10 ms)."""
    rng = np.random.default_rng(5)
    table = ServiceTable({1: rng.exponential(SERVICE_MS, 200_000)})
    latency = latencies(load, table)
    mean = table.mean_ms(1) / (1 - load)
    assert latency.mean() == pytest.approx(mean, rel=0.05)
    assert np.percentile(latency, 99) == pytest.approx(math.log(100) * mean, rel=0.08)


@pytest.mark.parametrize("load", [0.5, 2.0, 8.0])
def test_unlimited_batches_of_constant_time_wait_as_bulk_service_says(load: float) -> None:
    """Whatever arrived during a call (a of them, Poisson) goes next, having waited half a call on average.

    If nothing arrived (probability exp(-a)) the next request goes alone and at once: the mean wait is
    (a D / 2) / (a + exp(-a)).
    """
    table = constant(b1=SERVICE_MS, b1000=SERVICE_MS)
    wait = latencies(load, table, Batcher(1000)).mean() - SERVICE_MS
    assert wait == pytest.approx(load * SERVICE_MS / 2 / (load + math.exp(-load)), rel=0.02)


def test_a_lone_request_waits_the_whole_delay_and_a_full_batch_does_not() -> None:
    table, rng = constant(b1=SERVICE_MS, b4=2 * SERVICE_MS), np.random.default_rng(1)
    arrivals = np.array([0.0, 1000.0, 1001.0, 1002.0, 1003.0])
    latency = simulate(arrivals, table, Batcher(4, delay_ms=50.0), rng).latency_ms
    assert latency.tolist() == pytest.approx([60.0, 23.0, 22.0, 21.0, 20.0])


def test_between_measured_sizes_time_is_interpolated_at_the_same_rank() -> None:
    """Three images between batch 1 (1 or 2 ms) and 5 (5 or 10 ms): 3 or 6 ms, never 4.5 or 5.5."""
    table, rng = ServiceTable({1: np.array([1.0, 2.0]), 5: np.array([10.0, 5.0])}), np.random.default_rng(1)
    assert table.mean_ms(3) == pytest.approx(4.5)
    times = {
        float(latency)
        for start in range(0, 3000, 100)
        for latency in simulate(np.full(3, float(start)), table, Batcher(5), rng).latency_ms
    }
    assert sorted(times) == pytest.approx([3.0, 6.0])
    with pytest.raises(ValueError, match="above the largest measured"):
        table.between(6)


@pytest.mark.parametrize("per_second", [50, 200, 350])
@pytest.mark.parametrize("delay_ms", [0.0, 7.0])
def test_every_latency_is_simpy_s(per_second: float, delay_ms: float) -> None:
    """8 ms a call and 2 ms an image, at most 8 together: under, near and beyond what one device can do."""
    rng = np.random.default_rng(6)
    arrivals, batcher = poisson_arrivals(per_second, 2000, rng), Batcher(8, delay_ms)
    times = {batch: 8.0 + 2.0 * batch for batch in range(1, 9)}
    mine = simulate(arrivals, ServiceTable({b: np.array([t]) for b, t in times.items()}), batcher, rng)
    np.testing.assert_allclose(mine.latency_ms, simpy_latencies(arrivals, batcher, times), rtol=1e-9)
    assert mine.batches.sum() == 2000


def test_a_forecast_s_interval_holds_the_true_p99() -> None:
    """M/D/1 at load 0.7: Erlang's distribution at both ends of the interval lies on either side of 99%."""
    found = forecast(70.0, constant(b1=SERVICE_MS), ALONE)
    low, high = ((end - SERVICE_MS) / SERVICE_MS for end in found.p99_interval)
    assert erlang_wait(0.7, low) < 0.99 < erlang_wait(0.7, high)
    assert found.busy_share == pytest.approx(0.7, rel=0.02)
    assert found.mean_batch == 1


def test_the_same_question_gets_the_same_answer() -> None:
    table, batcher = constant(b1=SERVICE_MS, b8=20.0), Batcher(8, 5.0)
    first, second = (forecast(200.0, table, batcher, requests=1000, replications=2) for _ in range(2))
    assert first == second


def test_the_peak_is_that_of_the_best_batch() -> None:
    """20 ms for eight is 400 a second; sixteen take longer an image."""
    table = constant(b1=SERVICE_MS, b8=20.0, b16=48.0)
    assert table.peak_per_second(1) == pytest.approx(100)
    assert table.peak_per_second(16) == pytest.approx(400)


def test_a_table_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="needs samples"):
        ServiceTable({1: np.empty(0)})


@pytest.mark.alone
@pytest.mark.parametrize(("load", "delay_ms"), [(0.6, 0.0), (0.3, 20.0)])
def test_a_real_batching_server_is_as_slow_as_simulated(load: float, delay_ms: float) -> None:
    """3 s of Poisson requests over loopback; the event loops of server and client cost a little more."""
    tries = (run_once("stand_in", Batcher(8, delay_ms), load, 3.0) for _ in range(3))  # a neighbour may spoil one
    assert any(
        np.allclose(found.real, found.adjusted, rtol=0.12, atol=2.0)
        and np.allclose(found.real, found.simulated, rtol=0.15, atol=2.0)
        for found in tries
    )
