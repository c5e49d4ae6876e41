"""When to start and stop sampling. Order of operations only: no hardware, no averages (those are `analysis`'s).

Standard library and NumPy only, Python 3.10: imported by workers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.clocks import Clock
from harness.schema import WIDE_INTERVAL

TRIM = 0.1  # share dropped at each end before the mean
MIN_OTHER, MAX_OTHER = 3, 500  # inferences at a boundary other than device_ms
MIN_COVERAGE = 0.9  # share of a window's wall clock that its samples must account for
HOPE = 4.0  # times `max_seconds`: a job that would need longer than that is not sampled up to the limit
MIN_SHARE = 0.25  # of `max_seconds`, before a job may be given up: a disturbance at the start may pass


@dataclass(frozen=True)
class StopRule:
    """Warm up until two consecutive windows agree, then sample until the mean is known well enough.

    `target_percent`: wanted half-width of the 95% interval of the trimmed mean, in % of it. `t_975`: 97.5% quantiles of
    Student's t for 1, 2, ... degrees of freedom (the parent has SciPy, a worker may not); the last serves all above.
    """

    target_percent: float
    min_samples: int
    max_samples: int
    min_seconds: float
    max_seconds: float
    warmup_percent: float
    warmup_window_ms: float
    min_warmup_seconds: float
    max_warmup_seconds: float
    t_975: tuple[float, ...]


@dataclass(frozen=True)
class Samples:
    """Raw result of one job: nothing is averaged. `doubt` says why it is not known well enough; empty when it is."""

    device_ms: list[float]
    throughput_fps: list[float]
    warmup_ms: list[float]
    doubt: str
    half_width_percent: float
    coverage: float  # sum of device_ms over the wall clock of its windows; about 1 when the clock saw all the work
    enqueue_ms: float | None  # median over windows, see Window; where a call only enqueues


@dataclass(frozen=True)
class OtherBoundaries:
    """What the clock says beside device_ms; see harness.schema.BOUNDARIES."""

    transfer_ms: list[float]
    host_ms: list[float]
    throughput_fps: list[float]


def half_width_percent(samples: Sequence[float], t_975: Sequence[float]) -> float:
    """95% half-width of the trimmed mean in % of it, by Tukey and McLaughlin (1963), widened for autocorrelation.

    Standard error = winsorised standard deviation / ((1 - 2 TRIM) sqrt(n / tau)), Student's t with (n - 2g) / tau - 1
    degrees of freedom, g = floor(TRIM n) values trimmed at each end, tau the number of consecutive samples that say as
    much as one independent sample. Infinite for fewer than 3 remaining values.
    """
    n = len(samples)
    g = int(TRIM * n)
    if n - 2 * g < 3:
        return math.inf
    values = np.asarray(samples, dtype=float)
    ordered = np.sort(values)
    mean = float(ordered[g : n - g].mean())
    winsorised = np.clip(values, ordered[g], ordered[n - g - 1])
    variance = float(winsorised.var(ddof=1))
    if variance == 0.0:
        return 0.0
    tau = _autocorrelation_time(winsorised)
    error = math.sqrt(variance * tau / n) / (1 - 2 * TRIM)
    freedom = max(1, int((n - 2 * g) / tau) - 1)
    return 100.0 * t_975[min(freedom, len(t_975)) - 1] * error / mean


def _autocorrelation_time(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Samples per independent sample, at least 1: consecutive inferences resemble one another (clocks, caches).

    The larger of two estimates: Geyer's (1992) sum of autocorrelations, taken in pairs up to the first pair that is not
    positive, and (1 + r) / (1 - r) of an AR(1) series, r being the autocorrelation at lag 1.
    """
    n = values.size
    spectrum = np.fft.rfft(values - values.mean(), 2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:n] / np.arange(n, 0, -1)
    correlation = covariance / covariance[0]
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    geyer = 2 * float(pairs[: ends[0] if ends.size else None].sum()) - 1
    r = min(max(0.0, float(correlation[1])), 1 - 2 / n)
    return max(1.0, geyer, (1 + r) / (1 - r))


def warm_up(clock: Clock, run: Callable[[], None], rule: StopRule) -> tuple[list[float], bool]:
    """Run windows of about `warmup_window_ms` until the medians of two in a row differ by at most `warmup_percent`.

    Not before `min_warmup_seconds`: a card that draws more than its limit is held back only after most of a second.
    Returns every warm-up sample and whether two windows agreed within `max_warmup_seconds`.
    """
    start = clock.now_ms()
    first = clock.window(run, 1)  # it builds caches and may take far longer
    samples, wall_ms = first.samples_ms, max(first.wall_ms, 1e-3)
    longest_ms = 1000.0 * rule.max_warmup_seconds  # of a window, where a clock sees nothing of the work (MIN_COVERAGE)
    previous = math.nan
    while True:
        count = max(1, min(int(rule.warmup_window_ms / max(samples[-1], 1e-3)), int(longest_ms / wall_ms)))
        found = clock.window(run, count)
        window, wall_ms = found.samples_ms, max(found.wall_ms / count, 1e-3)
        samples += window
        median = float(np.median(window))
        seconds = (clock.now_ms() - start) / 1000.0
        agree = abs(median - previous) <= rule.warmup_percent / 100.0 * median
        if agree and seconds >= rule.min_warmup_seconds:
            return samples, True
        if seconds >= rule.max_warmup_seconds:
            return samples, False
        previous = median


def sample(clock: Clock, run: Callable[[], None], batch_size: int, rule: StopRule) -> Samples:
    """Warm up, then sample in windows until the rule is content, its limits are met or it is clear that they will be.

    The interval is looked at only when the number of samples has grown by a quarter, or doubled in the first half of
    `min_seconds`, and must be narrow enough at two looks in a row: stopping at the first lucky moment would make it a
    lie (docs/decisions/stop-rule.md).
    """
    warmup_ms, steady = warm_up(clock, run, rule)
    start = clock.now_ms()
    device_ms: list[float] = []
    throughput_fps: list[float] = []
    enqueue_ms: list[float] = []
    wall_ms = 0.0
    known = False
    count = rule.min_samples
    while True:
        window = clock.window(run, count)
        enqueue_ms += [] if window.enqueue_ms is None else [window.enqueue_ms]
        device_ms += window.samples_ms
        throughput_fps.append(1000.0 * batch_size * count / window.wall_ms)
        wall_ms += window.wall_ms
        half_width = half_width_percent(device_ms, rule.t_975)
        known, confirmed = half_width <= rule.target_percent, known
        seconds = (clock.now_ms() - start) / 1000.0
        at_limit = seconds >= rule.max_seconds or len(device_ms) >= rule.max_samples
        hopeless = _is_hopeless(half_width, seconds, rule)
        if at_limit or hopeless or (known and confirmed and seconds >= rule.min_seconds):
            doubts = [] if steady else ["warm-up windows did not agree before the time limit"]
            doubts += [] if known else [_tell_doubt(rule, hopeless=not at_limit)]
            coverage, enqueue = sum(device_ms) / wall_ms, statistics.median(enqueue_ms) if enqueue_ms else None
            return Samples(device_ms, throughput_fps, warmup_ms, "; ".join(doubts), half_width, coverage, enqueue)
        count = _next_count(len(device_ms), seconds, rule)


def _tell_doubt(rule: StopRule, *, hopeless: bool) -> str:
    """The same words for every job that ends so, as reports group jobs by them."""
    wider = f"{WIDE_INTERVAL} ±{rule.target_percent:g}%"
    if hopeless:
        return f"{wider}, and by so much that the limit of {rule.max_seconds:g} s would not mend it"
    return f"{wider} at the limit of {rule.max_seconds:g} s or {rule.max_samples} samples"


def _is_hopeless(half_width: float, seconds: float, rule: StopRule) -> bool:
    """Whether the time that the target would take, as the square of the interval's width, is far over the limit."""
    if math.isinf(half_width) or seconds < max(rule.min_seconds, MIN_SHARE * rule.max_seconds):
        return False
    return seconds * (half_width / rule.target_percent) ** 2 > HOPE * rule.max_seconds


def _next_count(done: int, seconds: float, rule: StopRule) -> int:
    """A quarter more samples, but not past `max_samples` nor far past `max_seconds`.

    Twice as many before half of `min_seconds`, when no look can end the job: a window begins with an untimed inference.
    """
    per_sample = seconds / done
    affordable = int((rule.max_seconds - seconds) / per_sample) + 1
    more = done if seconds < rule.min_seconds / 2 else done // 4
    return max(1, min(more, rule.max_samples - done, affordable))


def sample_other_boundaries(
    clock: Clock, run: Callable[[], None], run_with_transfers: Callable[[], None], batch_size: int, seconds: float
) -> OtherBoundaries:
    """About `seconds` for each of transfer_ms, host_ms and throughput_fps, but at least MIN_OTHER inferences each.

    For a device that works by itself; on a CPU the three follow from device_ms. Each starts with a call that is not
    kept. Throughput is read over three windows, so that it has a spread.
    """
    transfer_ms = clock.window(run_with_transfers, 1).samples_ms
    transfer_ms = clock.window(run_with_transfers, _fit(seconds, transfer_ms[-1])).samples_ms
    host_ms = clock.wait_each(run, 1)
    host_ms = clock.wait_each(run, _fit(seconds, host_ms[-1]))
    count = max(2, _fit(seconds / 3, host_ms[-1]))
    throughput_fps = [1000.0 * batch_size * count / clock.stream(run, count) for _ in range(3)]
    return OtherBoundaries(transfer_ms, host_ms, throughput_fps)


def _fit(seconds: float, each_ms: float) -> int:
    return max(MIN_OTHER, min(MAX_OTHER, int(1000.0 * seconds / each_ms)))


def run_for(clock: Clock, run: Callable[[], None], seconds: float, each_ms: float) -> int:
    """Keep the device under steady load for at least `seconds`; returns how many inferences that took."""
    start = clock.now_ms()
    done = 0
    chunk = max(2, int(200.0 / each_ms))
    while clock.now_ms() - start < 1000.0 * seconds:
        clock.stream(run, chunk)
        done += chunk
    return done
