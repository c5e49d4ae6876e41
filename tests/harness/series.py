"""Synthetic series of timings whose true value is known, and how often the stop rule's interval holds it.

`python -m tests.harness.series` prints the table in docs/decisions/stop-rule.md (about two minutes).
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import signal, stats

from harness.clocks import Window
from harness.measure import StopRule, sample

T_975 = tuple(float(stats.t.ppf(0.975, df)) for df in range(1, 1001))
LENGTH = 2600  # samples a trial can ask for: warm-up and max_samples, with room
TRIALS = 2000
MEAN_MS = 10.0
DRIFT = 0.01 / 80  # per sample: 1% over the median run of this noise
SLOW, SLOW_SHARE = 0.04, 0.3  # the slow one of two clock states


def make_rule(**changes):
    values = {
        "target_percent": 0.5,
        "min_samples": 20,
        "max_samples": 2000,
        "min_seconds": 0.0,
        "max_seconds": 1e9,
        "warmup_percent": 3.0,
        "warmup_window_ms": 50.0,
        "min_warmup_seconds": 0.0,
        "max_warmup_seconds": 10.0,
        "t_975": T_975,
    }
    return StopRule(**{**values, **changes})


class SeriesClock:
    """Answers with the values of an array; its wall clock is their sum."""

    name = "series"

    def __init__(self, times_ms):
        self.times_ms = times_ms
        self.sums_ms = np.concatenate([[0.0], np.cumsum(times_ms)])
        self.done = 0

    def window(self, run, count):
        samples = self.times_ms[self.done : self.done + count]
        self.done += count
        return Window(samples.tolist(), float(samples.sum()))

    def now_ms(self):
        return float(self.sums_ms[self.done])


def gaussian(rng):
    return 0.02 * rng.standard_normal(LENGTH)


def heavy_tailed(rng):
    return 0.012 * rng.standard_t(3, LENGTH)


def drifting(rng):
    return gaussian(rng) + DRIFT * np.arange(LENGTH)


def bimodal(rng):
    return 0.01 * rng.standard_normal(LENGTH) + SLOW * (rng.random(LENGTH) < SLOW_SHARE)


def switching(rng, stay):
    """Two clock states with geometric lengths, `stay` samples on average over both."""
    switches = rng.random((LENGTH, 2)) * (2 * stay * np.array([1 - SLOW_SHARE, SLOW_SHARE])) < 1
    slow = rng.random() < SLOW_SHARE
    states = np.empty(LENGTH)
    for index, leave in enumerate(switches.tolist()):
        states[index] = slow
        slow ^= leave[slow]
    return 0.01 * rng.standard_normal(LENGTH) + SLOW * states


def autoregressive(rng, phi):
    noise = rng.standard_normal(LENGTH + 300) * math.sqrt(1 - phi**2)
    return 0.02 * signal.lfilter([1.0], [1.0, -phi], noise)[300:]


SERIES = {
    "Gaussian": gaussian,
    "heavy-tailed (Student's t, 3)": heavy_tailed,
    "bimodal, independent": bimodal,
    "bimodal, states of 5 samples": functools.partial(switching, stay=5),
    "bimodal, states of 20 samples": functools.partial(switching, stay=20),
    "drifting, 1% in 80 samples": drifting,
    "AR(1), phi 0.3": functools.partial(autoregressive, phi=0.3),
    "AR(1), phi 0.6": functools.partial(autoregressive, phi=0.6),
    "AR(1), phi 0.9": functools.partial(autoregressive, phi=0.9),
}


@functools.cache
def bimodal_truth():
    """Trimmed mean of the mixture: of two million values."""
    rng = np.random.default_rng(0)
    return float(stats.trim_mean(np.concatenate([bimodal(rng) for _ in range(800)]), 0.1))


def true_value(name, first, count):
    """Trimmed mean of the process, relative to MEAN_MS, over the samples `first` to `first + count`."""
    if name.startswith("drifting"):
        return DRIFT * (first + (count - 1) / 2)
    return bimodal_truth() if name.startswith("bimodal") else 0.0


@dataclass(frozen=True)
class Coverage:
    """Share of trials whose interval holds the true value, share that reached the target, median samples of a trial."""

    covered: float
    content: float
    samples: float


def find_coverage(name, trials=TRIALS, **changes):
    """Simulate `trials` jobs on one kind of series, stopped by harness.measure.sample itself."""
    rule = make_rule(**changes)
    covered, content, counts = 0, 0, []
    for seed in range(trials):
        times_ms = MEAN_MS * (1 + SERIES[name](np.random.default_rng([7, seed])))
        result = sample(SeriesClock(times_ms), lambda: None, 1, rule)
        mean = stats.trim_mean(result.device_ms, 0.1)
        count = len(result.device_ms)
        truth = MEAN_MS * (1 + true_value(name, len(result.warmup_ms), count))
        covered += abs(mean - truth) <= result.half_width_percent / 100 * mean
        content += not result.doubt
        counts.append(count)
    return Coverage(covered / trials, content / trials, float(np.median(counts)))


def main():
    """Print the table as Markdown."""
    settings = (20, 50)
    print("| series | " + " | ".join(f"min_samples {n}: covered | `ok` | samples" for n in settings) + " |")
    print("|---|" + "---:|---:|---:|" * len(settings))
    for name in SERIES:
        found = [find_coverage(name, min_samples=n) for n in settings]
        cells = [f"{c.covered:.1%} | {c.content:.0%} | {c.samples:.0f}" for c in found]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
