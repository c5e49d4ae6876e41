"""Statistics of timing samples. Pure functions on arrays; nothing here knows what a backend is.

The location is the trimmed mean. Its interval is Tukey and McLaughlin's (winsorised variance, Student's t). Ratios of
two locations get percentile bootstrap intervals from draws made once per cell, so that any derived quantity (speedup,
saturation batch) is a function of the same draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

TRIM = 0.1  # share dropped on each side
CONFIDENCE = 0.95  # of a mean
RATIO_CONFIDENCE = 0.99  # of a ratio: a report compares dozens of cells, and at 95% one in twenty would win by luck
DRAWS = 20_000  # 100 of them lie beyond each end of a 99% interval
PRIOR_SPREAD = 0.005  # of a location from process to process, before a run says more; docs/decisions/ties.md
PRIOR_SPREAD_SHORT = 0.02  # likewise of what takes a GPU less than SHORT_MS
SHORT_MS = 1.0
PRIOR_FREEDOM = 8  # what a prior weighs, in differences between processes

Array = NDArray[np.float64]
Interval = tuple[float, float]
NO_INTERVAL: Interval = (float("nan"), float("nan"))


def _trimmed(samples: Array) -> Array:
    dropped = int(TRIM * samples.size)
    return np.sort(samples)[dropped : samples.size - dropped]


def trimmed_mean(samples: Array) -> float:
    """Mean after dropping floor(0.1 n) samples on each side; NaN for no samples.

    SciPy's trim_mean to the last bit, without its checks, which take longer than the mean of so few values.
    """
    if not samples.size:
        return float("nan")
    low, high = int(TRIM * samples.size), samples.size - int(TRIM * samples.size)
    ordered = samples.copy()
    ordered.partition((low, high - 1))
    return float(np.add.reduce(ordered[low:high]) / (high - low))


def std(samples: Array) -> float:
    """Standard deviation (n - 1 below the line); NaN for fewer than two samples."""
    return float(np.std(samples, ddof=1)) if samples.size > 1 else float("nan")


def trimmed_std(samples: Array) -> float:
    """Standard deviation of the samples that the trimmed mean keeps."""
    return std(_trimmed(samples))


def trimmed_mean_interval(samples: Array, confidence: float = CONFIDENCE) -> Interval:
    """Tukey-McLaughlin interval of the trimmed mean. NaN for fewer than two samples; assumes independent samples."""
    if samples.size < 2:
        return NO_INTERVAL
    dropped = int(TRIM * samples.size)
    kept, order = samples.copy(), samples.argsort()
    kept[order[:dropped]] = kept[order[samples.size - dropped :]] = 0.0
    mean = kept.sum() / (samples.size - 2 * dropped)
    quantile = stdtrit(samples.size - 2 * dropped - 1, 1 - (1 - confidence) / 2)
    half = quantile * trimmed_standard_error(samples)
    return float(mean - half), float(mean + half)


def trimmed_standard_error(samples: Array) -> float:
    """Standard error of the trimmed mean from the winsorised variance; two samples at least.

    This and the interval are SciPy's mstats.trimmed_mean_ci to the last bit, fifty times as fast: its masked arrays
    take a millisecond a call.
    """
    count, dropped = samples.size, int(TRIM * samples.size)
    winsorised, order = samples.copy(), samples.argsort()
    winsorised[order[:dropped]] = samples[order[dropped]]
    winsorised[order[count - dropped :]] = samples[order[count - dropped - 1]]
    deviation = winsorised - winsorised.sum() / count
    return float(np.sqrt((deviation * deviation).sum() / (count - 1)) / ((1 - TRIM - TRIM) * np.sqrt(count)))


def bootstrap_trimmed_means(samples: Array, rng: np.random.Generator, draws: int = DRAWS) -> Array:
    """Trimmed means of `draws` resamples with replacement, shape (draws,).

    The order statistics of a resample are drawn directly (sums of exponential gaps are sorted uniforms), which saves
    the sort and makes thousands of samples cheap.
    """
    count, dropped = samples.size, int(TRIM * samples.size)
    ordered = np.sort(samples)
    means = np.empty(draws)
    step = max(1, 2_000_000 // (count + 1))
    for start in range(0, draws, step):
        gaps = rng.standard_exponential((min(step, draws - start), count + 1))
        sums = np.cumsum(gaps, axis=1)
        index = (sums[:, dropped : count - dropped] / sums[:, -1:] * count).astype(np.intp)
        means[start : start + step] = ordered[np.minimum(index, count - 1)].mean(axis=1)
    return means


def process_spread(locations: Iterable[Array], prior: float = PRIOR_SPREAD) -> float:
    """Standard deviation of a location from process to process, as a share of it; pooled over contenders.

    `locations`: one array per contender at one size and batch, with the trimmed mean of each process that measured it
    (rounds, the second measurement of the self-check). `prior` weighs as much as PRIOR_FREEDOM differences, so it alone
    is the answer where nothing was measured twice.
    """
    squares, freedom = PRIOR_FREEDOM * prior**2, PRIOR_FREEDOM
    for times in locations:
        logs = np.log(times)
        squares += float(np.sum((logs - logs.mean()) ** 2))
        freedom += times.size - 1
    return float(np.sqrt(squares / freedom))


def find_widening(samples: Array, half_width_percent: float | None) -> float:
    """How many times as wide the interval of a trimmed mean is as that of n independent samples: 1 to sqrt(n).

    `half_width_percent`: half of the 95% interval, % of the mean, as the harness found it from samples in their order:
    consecutive ones resemble one another (docs/decisions/stop-rule.md). None where that is not known. The harness's may
    be wider by any factor, as it also allows for not knowing the deviation; a mean says at least what one sample says.
    """
    low, high = trimmed_mean_interval(samples)
    if half_width_percent is None or not high > low:
        return 1.0
    factor = half_width_percent / 100 * trimmed_mean(samples) / ((high - low) / 2)
    return float(np.clip(factor, 1.0, np.sqrt(samples.size)))


def bootstrap_location(
    rounds: Sequence[Array],
    rng: np.random.Generator,
    draws: int = DRAWS,
    spread: float = PRIOR_SPREAD,
    widening: float = 1.0,
) -> Array:
    """Draws of the location of one cell, shape (draws,): the samples of each round resampled, and its process varied.

    The location is the mean over rounds of their trimmed means. Each round is a process, and processes differ: by
    `spread` (see process_spread) as far as one round tells; the cell's own rounds are pooled with it as R - 1 against
    PRIOR_FREEDOM, or believed alone where they differ more. Resampled deviations are widened from variance (n - 1)/n to
    the unbiased one, and both kinds have the tails of Student's t, because few values are far too sure of themselves.
    `widening`: of what is known from within a process, see find_widening. NaN when nothing tells the spread within a
    process (one sample in one round).
    """
    means = np.array([trimmed_mean(samples) for samples in rounds])
    centre = float(means.mean())
    if sum(samples.size for samples in rounds) < 2:
        return np.full(draws, np.nan)
    variance, freedom = between_variance(means / centre, spread)
    between = np.sqrt(variance / means.size) * rng.standard_t(freedom, draws)
    within = widening * np.mean([_within(samples, rng, draws) for samples in rounds], axis=0) / centre
    # a time stays positive however wide the interval; two samples have Cauchy tails, hence the clip
    return np.asarray(centre * np.exp(np.clip(between + within, -30.0, 30.0)))


def between_variance(relative: Array, spread: float) -> tuple[float, int]:
    """Variance of one process's location, as a share of it, and its degrees of freedom; see bootstrap_location.

    `relative`: trimmed mean of each round over the mean of these, shape (rounds,).
    """
    own = float(np.var(relative, ddof=1)) if relative.size > 1 else 0.0
    freedom = PRIOR_FREEDOM + relative.size - 1
    return max(own, (PRIOR_FREEDOM * spread**2 + (relative.size - 1) * own) / freedom), freedom


def _within(samples: Array, rng: np.random.Generator, draws: int) -> Array:
    kept = samples.size - 2 * int(TRIM * samples.size)
    return _widened(bootstrap_trimmed_means(samples, rng, draws) - trimmed_mean(samples), kept, rng)


def _widened(deviation: Array, count: int, rng: np.random.Generator) -> Array:
    if count < 2:
        return np.zeros_like(deviation)
    freedom = count - 1
    tails = np.sqrt(freedom / rng.chisquare(freedom, deviation.size))
    return deviation * tails * np.sqrt(count / freedom)


def percentile_interval(draws: Array, confidence: float = CONFIDENCE) -> Interval:
    """Equal-tailed interval of bootstrap draws; NaN when the draws are."""
    if draws.size == 0 or not np.all(np.isfinite(draws)):
        return NO_INTERVAL
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def ratio_interval(numerator: Array, denominator: Array, confidence: float = RATIO_CONFIDENCE) -> Interval:
    """Interval of numerator / denominator from independent draws of both."""
    return percentile_interval(numerator / denominator, confidence)


def verdict(interval: Interval) -> str:
    """What a speedup's interval says: `faster`, `slower`, `tie` (1.00 lies inside) or `unknown` (no interval)."""
    low, high = interval
    if not (np.isfinite(low) and np.isfinite(high)):
        return "unknown"
    if low > 1.0:
        return "faster"
    return "slower" if high < 1.0 else "tie"
