"""Synthetic series of timings whose true value is known, and how often the stop rule's interval holds it.

`python -m tests.harness.series` prints the two tables in docs/decisions/stop-rule.md (about four minutes).
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy import signal, stats

from harness.clocks import Window
from harness.commands import make_stop_rule
from harness.config import BenchConfig
from harness.measure import StopRule, sample

T_975 = tuple(float(stats.t.ppf(0.975, df)) for df in range(1, 1001))
LENGTH = 2600  # samples a trial can ask for: warm-up and max_samples, with room
TRIALS = 2000
MEAN_MS = 10.0
DRIFT = 0.01 / 80  # per sample: 1% over the median run of this noise
SLOW, SLOW_SHARE = 0.04, 0.3  # the slow one of two clock states
CONFIGS = Path(__file__).parents[2] / "harness" / "configs"
PROFILES = (("quick", 150.0), ("gpu", 10.0), ("gpu", 1.0))  # what `make bench` runs, and ms of an inference


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


def load_rule(profile):
    """The stop rule of harness/configs/`profile`.yaml, as the harness makes it."""
    settings = yaml.safe_load((CONFIGS / f"{profile}.yaml").read_text(encoding="utf-8"))
    return make_stop_rule(BenchConfig(**settings))


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


def bimodal(rng, share=SLOW_SHARE, slow=SLOW, noise=0.01):
    return noise * rng.standard_normal(LENGTH) + slow * (rng.random(LENGTH) < share)


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
    "15% slow, noise 0.1%": functools.partial(bimodal, share=0.15, noise=0.001),
    "12% slow, noise 0.1%": functools.partial(bimodal, share=0.12, noise=0.001),
    "15% slow by half": functools.partial(bimodal, share=0.15, slow=0.5),
    "bimodal, states of 5 samples": functools.partial(switching, stay=5),
    "bimodal, states of 20 samples": functools.partial(switching, stay=20),
    "drifting, 1% in 80 samples": drifting,
    "AR(1), phi 0.3": functools.partial(autoregressive, phi=0.3),
    "AR(1), phi 0.6": functools.partial(autoregressive, phi=0.6),
    "AR(1), phi 0.9": functools.partial(autoregressive, phi=0.9),
}


@functools.cache
def mixture_truth(name):
    """Trimmed mean of a mixture, whatever the order of its states: of two million independent values."""
    rng = np.random.default_rng(0)
    draw = bimodal if name.startswith("bimodal") else SERIES[name]
    return float(stats.trim_mean(np.concatenate([draw(rng) for _ in range(800)]), 0.1))


def true_value(name, first, count):
    """Trimmed mean of the process, relative to the mean of its noise, over the samples `first` to `first + count`."""
    if name.startswith("drifting"):
        return DRIFT * (first + (count - 1) / 2)
    return mixture_truth(name) if name.startswith("bimodal") or "slow" in name else 0.0


@dataclass(frozen=True)
class Coverage:
    """Shares of trials: whose interval holds the true value; that are `ok`; of these, whose mean is near enough to it.

    Near enough: within the target that `ok` promises; NaN where no trial is `ok`. `samples`: median of a trial.
    """

    covered: float
    content: float
    kept: float
    samples: float


def simulate(name, rule, mean_ms=MEAN_MS, trials=TRIALS):
    """`trials` jobs on one kind of series, stopped by harness.measure.sample itself."""
    covered, content, kept, counts = 0, 0, 0, []
    for seed in range(trials):
        times_ms = mean_ms * (1 + SERIES[name](np.random.default_rng([7, seed])))
        result = sample(SeriesClock(times_ms), lambda: None, 1, rule)
        mean = stats.trim_mean(result.device_ms, 0.1)
        count = len(result.device_ms)
        truth = mean_ms * (1 + true_value(name, len(result.warmup_ms), count))
        error_percent = 100 * abs(mean - truth) / mean
        covered += bool(error_percent <= result.half_width_percent)
        if not result.doubt:
            content += 1
            kept += bool(error_percent <= rule.target_percent)
        counts.append(count)
    return Coverage(
        covered / trials, content / trials, kept / content if content else math.nan, float(np.median(counts))
    )


def find_coverage(name, trials=TRIALS, **changes):
    """Of the rule that studies use, with `changes`."""
    return simulate(name, make_rule(**changes), trials=trials)


def print_table(columns):
    """One line a series; `columns`: rule and ms of an inference by the head of their four columns."""
    print("| series | " + " | ".join(f"{head}: covered | `ok` | kept | samples" for head in columns) + " |")
    print("|---|" + "---:|---:|---:|---:|" * len(columns))
    for name in SERIES:
        found = [simulate(name, rule, mean_ms) for rule, mean_ms in columns.values()]
        cells = [f"{c.covered:.1%} | {c.content:.0%} | {c.kept:.0%} | {c.samples:.0f}" for c in found]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main():
    """Print both tables as Markdown."""
    print_table({f"min_samples {n}": (make_rule(min_samples=n), MEAN_MS) for n in (20, 50)})
    print()
    print_table({f"{profile}, {mean_ms:g} ms": (load_rule(profile), mean_ms) for profile, mean_ms in PROFILES})


if __name__ == "__main__":
    main()
