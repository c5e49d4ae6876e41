"""Queues known from elsewhere: Erlang's distribution of the wait of M/D/1, and the batcher told in SimPy."""

from __future__ import annotations

import timeit

import mpmath
import numpy as np
import simpy

from analysis.decision.queueing import Batcher, ServiceTable, poisson_arrivals, simulate


def erlang_wait(load: float, time: float) -> float:
    """P(wait <= time services) of M/D/1 (Erlang 1909), by a sum that cancels: hence 60 digits."""
    with mpmath.workdps(60):
        rho, t = mpmath.mpf(load), mpmath.mpf(time)
        terms = ((rho * (k - t)) ** k / mpmath.factorial(k) * mpmath.exp(-rho * (k - t)) for k in range(int(time) + 1))
        return float((1 - rho) * mpmath.fsum(terms))


def simpy_latencies(arrivals: np.ndarray, batcher: Batcher, service_ms: dict[int, float]) -> np.ndarray:
    """The same batcher told as processes and events, with a time of a call by batch size."""
    environment = simpy.Environment()
    waiting: list[int] = []
    latency = np.zeros(len(arrivals))
    news = {"event": environment.event()}

    def arrive():
        for number, moment in enumerate(arrivals):
            yield environment.timeout(moment - environment.now)
            waiting.append(number)
            news["event"].succeed()
            news["event"] = environment.event()

    def serve():
        while True:
            while not waiting:
                yield news["event"]
            deadline = environment.timeout(max(0.0, arrivals[waiting[0]] + batcher.delay_ms - environment.now))
            while len(waiting) < batcher.max_batch and not deadline.processed:
                yield deadline | news["event"]
            batch = waiting[: batcher.max_batch]
            del waiting[: batcher.max_batch]
            yield environment.timeout(service_ms[len(batch)])
            latency[batch] = environment.now - arrivals[batch]

    environment.process(arrive())
    environment.process(serve())
    environment.run(until=arrivals[-1] + 10_000)
    return latency


def main() -> None:
    """Print how long each model takes for the same 20,000 requests (batches of at most 8, near saturation)."""
    rng = np.random.default_rng(6)
    arrivals, batcher = poisson_arrivals(300, 20_000, rng), Batcher(8, 5.0)
    times = {batch: 8.0 + 2.0 * batch for batch in range(1, 9)}
    table = ServiceTable({batch: np.array([time]) for batch, time in times.items()})
    runs = {
        "analysis.decision.queueing": lambda: simulate(arrivals, table, batcher, rng),
        "SimPy": lambda: simpy_latencies(arrivals, batcher, times),
    }
    for name, run in runs.items():
        print(f"{name}: {1000 * min(timeit.repeat(run, number=1, repeat=5)):.0f} ms")


if __name__ == "__main__":
    main()
