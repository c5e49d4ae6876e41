"""One device behind a dynamic batcher, simulated: Poisson arrivals, service times from the measured latency table.

The batcher: while the device is free and requests wait, a batch starts as soon as `max_batch` of them wait or the
oldest has waited `delay_ms`; what waits then goes together, at most `max_batch`. First come, first served; nothing is
dropped. docs/decisions/queueing.md says why this is an event loop of our own and what it was checked against.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as student

from analysis.stats import CONFIDENCE, Array, Interval

WARM_UP = 0.1  # share of requests left out at the start, while the queue fills
REPLICATIONS = 10


@dataclass(frozen=True)
class ServiceTable:
    """Samples of the time of one call in ms, by batch size; at least one size, each with at least one sample."""

    samples: Mapping[int, Array]
    ordered: dict[int, list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.samples or any(values.size == 0 for values in self.samples.values()):
            raise ValueError("a service table needs samples for each of its batch sizes")
        object.__setattr__(self, "ordered", {b: np.sort(self.samples[b]).tolist() for b in sorted(self.samples)})

    @property
    def largest(self) -> int:
        """The largest batch measured: the model goes no further."""
        return max(self.ordered)

    def between(self, batch: int) -> tuple[list[float], list[float], float]:
        """Sorted samples of the measured sizes around `batch`, and the share of the upper one.

        A batch below the smallest measured one takes as long as that. Raises ValueError above the largest.
        """
        sizes = list(self.ordered)
        if batch > sizes[-1]:
            raise ValueError(f"batch {batch} is above the largest measured, {sizes[-1]}")
        upper = next(size for size in sizes if size >= batch)
        lower = max((size for size in sizes if size <= batch), default=upper)
        share = (batch - lower) / (upper - lower) if upper > lower else 0.0
        return self.ordered[lower], self.ordered[upper], share

    def mean_ms(self, batch: int) -> float:
        """Mean time of a call of `batch` images."""
        lower, upper, share = self.between(batch)
        return float((1 - share) * np.mean(lower) + share * np.mean(upper))

    def peak_per_second(self, max_batch: int) -> float:
        """Most requests per second that one device can serve in batches of at most `max_batch`."""
        return max(1000.0 * batch / self.mean_ms(batch) for batch in (*self.ordered, max_batch) if batch <= max_batch)


@dataclass(frozen=True)
class Batcher:
    """How requests become batches: at most `max_batch`, the oldest waiting at most `delay_ms` for company."""

    max_batch: int
    delay_ms: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """Latency of each request in ms, in order of arrival (waiting and service), the batches' sizes and busy time."""

    latency_ms: Array
    batches: Array
    busy_share: float


def simulate(arrivals_ms: Array, table: ServiceTable, batcher: Batcher, rng: np.random.Generator) -> Simulated:
    """Serve requests that arrive at `arrivals_ms` (ascending).

    Service times are drawn from the raw samples; between two measured sizes both give their value at the same rank,
    and the time is interpolated linearly. Samples are drawn independently: a slow spell of the machine is not kept
    together.
    """
    arrivals = arrivals_ms.tolist()
    count, limit, delay = len(arrivals), batcher.max_batch, batcher.delay_ms
    around = [table.between(batch) for batch in range(1, limit + 1)]
    ranks = rng.random(count).tolist()
    done: list[float] = []
    sizes: list[int] = []
    free, busy, first = 0.0, 0.0, 0
    while first < count:
        full = arrivals[first + limit - 1] if first + limit <= count else float("inf")
        start = max(free, arrivals[first], min(full, arrivals[first] + delay))
        end = bisect_right(arrivals, start, first, min(first + limit, count))
        lower, upper, share = around[end - first - 1]
        rank = ranks[len(sizes)]
        service = (1 - share) * lower[int(rank * len(lower))] + share * upper[int(rank * len(upper))]
        free = start + service
        done.append(free)
        sizes.append(end - first)
        busy += service
        first = end
    latency = np.repeat(done, sizes) - arrivals_ms
    return Simulated(latency, np.array(sizes), busy / (done[-1] - arrivals[0]))


def poisson_arrivals(per_second: float, count: int, rng: np.random.Generator) -> Array:
    """Moments of `count` requests in ms, at a mean rate."""
    return np.cumsum(rng.exponential(1000.0 / per_second, count))


@dataclass(frozen=True)
class Forecast:
    """What simulation expects of one device: percentiles of latency in ms, mean batch, share of time busy.

    `p99_interval` is the 95% interval of p99 over replications (Student's t): the simulation's own uncertainty only.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_interval: Interval
    mean_batch: float
    busy_share: float


def forecast(
    per_second: float,
    table: ServiceTable,
    batcher: Batcher,
    *,
    requests: int = 20_000,
    replications: int = REPLICATIONS,
) -> Forecast:
    """Simulate `replications` independent times, `requests` each; the same question always gets the same answer."""
    found = []
    for number in range(replications):
        rng = np.random.default_rng([21, number])
        run = simulate(poisson_arrivals(per_second, requests, rng), table, batcher, rng)
        kept = run.latency_ms[int(WARM_UP * requests) :]
        found.append((*np.percentile(kept, [50, 90, 99]), run.batches.mean(), run.busy_share))
    p50, p90, p99, batch, busy = np.mean(found, axis=0)
    spread = np.std([each[2] for each in found], ddof=1) / np.sqrt(replications) if replications > 1 else np.nan
    half = student.ppf((1 + CONFIDENCE) / 2, replications - 1) * spread if replications > 1 else np.nan
    return Forecast(
        float(p50), float(p90), float(p99), (float(p99 - half), float(p99 + half)), float(batch), float(busy)
    )
