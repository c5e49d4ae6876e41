"""When to start and stop sampling. Order of operations only: no hardware, no averages (those are `analysis`'s).

Standard library and NumPy only, Python 3.10: imported by workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.clocks import Clock

TRIM = 0.1  # share dropped at each end before the mean
MIN_COVERAGE = 0.9  # share of a window's wall clock that its samples must account for


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


def half_width_percent(samples: Sequence[float], t_975: Sequence[float]) -> float:
    """95% half-width of the trimmed mean in % of it, by Tukey and McLaughlin (1963), widened for autocorrelation.

    Standard error = winsorised standard deviation / ((1 - 2 TRIM) sqrt(n)), Student's t with n - 2g - 1 degrees of
    freedom, g = floor(TRIM n) values trimmed at each end. Consecutive inferences resemble one another (clocks, caches),
    so n is replaced by n (1 - r) / (1 + r) where the lag-1 autocorrelation r of the winsorised series is positive.
    Infinite for fewer than 3 remaining values.
    """
    n = len(samples)
    g = int(TRIM * n)
    if n - 2 * g < 3:
        return math.inf
    ordered = np.sort(np.asarray(samples, dtype=float))
    mean = float(ordered[g : n - g].mean())
    winsorised = np.clip(np.asarray(samples, dtype=float), ordered[g], ordered[n - g - 1])
    centred = winsorised - winsorised.mean()
    variance = float(centred @ centred)
    if variance == 0.0:
        return 0.0
    r = max(0.0, float(centred[1:] @ centred[:-1]) / variance)
    error = math.sqrt(variance / (n - 1)) / ((1 - 2 * TRIM) * math.sqrt(n * (1 - r) / (1 + r)))
    freedom = n - 2 * g - 1
    return 100.0 * t_975[min(freedom, len(t_975)) - 1] * error / mean


def warm_up(clock: Clock, run: Callable[[], None], rule: StopRule) -> tuple[list[float], bool]:
    """Run windows of about `warmup_window_ms` until the medians of two in a row differ by at most `warmup_percent`.

    Returns every warm-up sample and whether two windows agreed within `max_warmup_seconds`.
    """
    start = clock.now_ms()
    samples = clock.window(run, 1).samples_ms  # the first call builds caches and may take far longer
    previous = math.nan
    while True:
        count = max(1, min(rule.min_samples, int(rule.warmup_window_ms / max(samples[-1], 1e-3))))
        window = clock.window(run, count).samples_ms
        samples += window
        median = float(np.median(window))
        if abs(median - previous) <= rule.warmup_percent / 100.0 * median:
            return samples, True
        if clock.now_ms() - start >= 1000.0 * rule.max_warmup_seconds:
            return samples, False
        previous = median


def sample(clock: Clock, run: Callable[[], None], batch_size: int, rule: StopRule) -> Samples:
    """Warm up, then sample in windows until the rule is content or its limits are met.

    The interval is looked at only when the number of samples has grown by a quarter: looking after every sample would
    stop at lucky moments and make the interval a lie.
    """
    warmup_ms, steady = warm_up(clock, run, rule)
    start = clock.now_ms()
    device_ms: list[float] = []
    throughput_fps: list[float] = []
    wall_ms = 0.0
    count = rule.min_samples
    while True:
        window = clock.window(run, count)
        device_ms += window.samples_ms
        throughput_fps.append(1000.0 * batch_size * count / window.wall_ms)
        wall_ms += window.wall_ms
        half_width = half_width_percent(device_ms, rule.t_975)
        known = half_width <= rule.target_percent
        seconds = (clock.now_ms() - start) / 1000.0
        at_limit = seconds >= rule.max_seconds or len(device_ms) >= rule.max_samples
        if at_limit or (known and seconds >= rule.min_seconds):
            doubt = f"95% interval still wider than ±{rule.target_percent:g}% at the limit of {rule.max_seconds:g} s"
            doubt += f" or {rule.max_samples} samples"
            doubt = doubt if not known else "" if steady else "warm-up windows did not agree before the time limit"
            return Samples(device_ms, throughput_fps, warmup_ms, doubt, half_width, sum(device_ms) / wall_ms)
        count = _next_count(len(device_ms), seconds, rule)


def _next_count(done: int, seconds: float, rule: StopRule) -> int:
    """A quarter more samples, but not past `max_samples` nor far past `max_seconds`."""
    per_sample = seconds / done
    affordable = int((rule.max_seconds - seconds) / per_sample) + 1
    return max(1, min(done // 4, rule.max_samples - done, affordable))
