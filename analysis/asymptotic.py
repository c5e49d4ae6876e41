"""The limit of the bootstrap, in closed form: for runs of so many rounds or samples that resampling takes its time.

Same model as `stats.bootstrap_location` (a round is a process, and processes differ by `spread`), with the standard
error of the trimmed mean (Tukey and McLaughlin's, which the 95% intervals rest on) in place of resampling. Independent
errors are added as Welch and Satterthwaite do, doi.org/10.2307/3002019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from analysis import stats
from analysis.stats import Array, Interval

MOST_RESAMPLED = 2000  # rounds of a run up to which it is resampled: some seconds
MOST_SAMPLES = 40_000  # of all its rounds, likewise


@dataclass(frozen=True)
class LocationError:
    """log of a cell's location: Student's t with `freedom`, scaled by `scale`, around log `centre`; NaN: unknown."""

    centre: float
    scale: float
    freedom: float


def location_error(
    rounds: Sequence[Array], locations: Sequence[float], spread: float, widening: float = 1.0
) -> LocationError:
    """Error of the mean of `locations`, the trimmed means of `rounds`; NaN where one sample is all there is.

    `widening`: of what is known from within a process, see stats.find_widening.
    """
    means = np.array(locations)
    centre = float(means.mean())
    if sum(samples.size for samples in rounds) < 2:
        return LocationError(centre, float("nan"), float("nan"))
    variance, freedom = stats.between_variance(means / centre, spread)
    known = [samples for samples in rounds if samples.size > 1]
    errors = widening * np.array([stats.trimmed_standard_error(samples) for samples in known])
    kept = np.array([samples.size - 2 * int(stats.TRIM * samples.size) for samples in known])
    squares = np.array([variance / means.size, *(errors / (centre * means.size)) ** 2])
    return LocationError(centre, float(np.sqrt(squares.sum())), _pooled(squares, np.array([freedom, *(kept - 1)])))


def _pooled(squares: Array, freedoms: Array) -> float:
    """Degrees of freedom of a sum of independent errors with these squared scales (Welch and Satterthwaite)."""
    return float(squares.sum() ** 2 / np.sum(squares**2 / freedoms))


def draw_locations(error: LocationError, rng: np.random.Generator, draws: int = stats.DRAWS) -> Array:
    """Draws of the location, shape (draws,), as stats.bootstrap_location gives them."""
    if not np.isfinite(error.scale):
        return np.full(draws, np.nan)
    deviation = error.scale * rng.standard_t(error.freedom, draws)
    return np.asarray(error.centre * np.exp(np.clip(deviation, -30.0, 30.0)))


def location_interval(error: LocationError, confidence: float = stats.CONFIDENCE) -> Interval:
    """Interval of the location; NaN when the error is."""
    return _interval(error.centre, error.scale, error.freedom, confidence)


def ratio_interval(
    numerator: LocationError, denominator: LocationError, confidence: float = stats.RATIO_CONFIDENCE
) -> Interval:
    """Interval of numerator / denominator, independent of each other; NaN when an error is."""
    squares = np.array([numerator.scale, denominator.scale]) ** 2
    freedom = _pooled(squares, np.array([numerator.freedom, denominator.freedom]))
    return _interval(numerator.centre / denominator.centre, float(np.sqrt(squares.sum())), freedom, confidence)


def _interval(centre: float, scale: float, freedom: float, confidence: float) -> Interval:
    if not np.isfinite(scale):
        return stats.NO_INTERVAL
    factor = float(np.exp(min(30.0, float(stdtrit(freedom, (1 + confidence) / 2)) * scale)))
    return centre / factor, centre * factor
