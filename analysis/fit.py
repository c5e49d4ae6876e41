"""How the time of a batch grows with its size: a fixed part and a part per image, which overlap more or less.

    t(b) = (fixed_ms^p + (b / rate)^p)^(1/p),  p >= 1

With p = 1 nothing overlaps: Hockney's model of vector machines (Hockney and Jesshope, "Parallel Computers", 1981),
whose half-performance length is our knee. A large p is the greater of the two parts: a host that enqueues while the
device computes. Why this model: docs/decisions/saturation-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from analysis.stats import CONFIDENCE, Array, Interval, percentile_interval

FEWEST_BATCHES = 4  # three parameters and one point to doubt them by
WIDEST_OVERLAP = 8.0  # p; beyond it the curve is the greater of both parts within 9%
WORST_ERROR = 0.05  # a curve that errs by more cannot tell where speed is within 5% of the peak
WIDEST_PEAK = 1.5  # upper over lower end of the peak's interval
LEAST_SIGMA = 0.01  # no cell weighs more than one known within 1%: the model itself is not better
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Fit:
    """A fitted curve. Batches are real numbers here: where the curve passes, not which batch was tried.

    `peak_fps`: images per second that large batches approach. `knee_batch`: where the fixed part equals the part per
    image. `plateau_batch`: from where images per second are within the tolerance of the peak. Each with its 95%
    interval. `fixed_ms`: the time that even an empty batch would take. `error`: residual standard error, as a share.
    """

    peak_fps: float
    peak: Interval
    knee_batch: float
    knee: Interval
    plateau_batch: float
    plateau: Interval
    overlap: float
    fixed_ms: float
    error: float


@dataclass(frozen=True)
class NoFit:
    """Why no curve is given: `batches` (too few), `samples` (no interval), `falls`, `shape`, or `growing`.

    `falls`: images per second fall again beyond the best batch; `shape`: the curve misses the points; `growing`: no
    plateau in sight at the largest batch. `error` as in Fit, NaN where nothing was fitted.
    """

    reason: str
    error: float = float("nan")


def time_ms(batches: Array, peak_fps: float, knee_batch: float, overlap: float) -> Array:
    """The model's time of a batch in ms, shape of `batches`."""
    return np.asarray(1000 / peak_fps * (knee_batch**overlap + batches**overlap) ** (1 / overlap))


def plateau_batch(knee_batch: Array, overlap: Array, tolerance: float) -> Array:
    """Batch from which the model's images per second are within `tolerance` of the peak."""
    return np.asarray(knee_batch * ((1 - tolerance) ** -overlap - 1) ** (-1 / overlap))


def fit_batches(batches: Array, ms: Array, draws: Array, tolerance: float) -> Fit | NoFit:
    """Fit the model to the times `ms` (n,) of ascending `batches` (n,); `draws` (d, n) are their bootstrap draws.

    Least squares of log time, weighted by the draws. Intervals: the fit, linearised, of every draw; widened by the
    Birge ratio where the points lie farther from the curve than their own intervals explain.
    """
    if batches.size < FEWEST_BATCHES:
        return NoFit("batches")
    if not np.all(np.isfinite(draws)):
        return NoFit("samples")
    log_batches, log_ms, log_draws = np.log(batches), np.log(ms), np.log(draws)
    ends = np.quantile(log_draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    sigma = np.maximum((ends[1] - ends[0]) / 2 / NORMAL_95, LEAST_SIGMA)
    found = _least_squares(log_batches, log_ms, sigma)
    freedom = batches.size - 3
    deviation = found.fun * sigma
    error = float(np.sqrt(np.sum(deviation**2) / freedom))
    if error > WORST_ERROR:
        falling = ms[-1] / batches[-1] * (1 - tolerance) > np.min(ms / batches)
        return NoFit("falls" if falling else "shape", error)
    birge = max(1.0, float(np.sqrt(np.sum(found.fun**2) / freedom)))
    drawn = found.x + birge * _shifts(found.jac, (log_draws - log_ms) / sigma, found.x)
    drawn[:, 2] = np.clip(drawn[:, 2], 0.0, np.log(WIDEST_OVERLAP))
    peaks, knees, overlaps = np.exp(np.clip(drawn, -30, 30)).T
    peak, (peak_fps, knee, overlap) = percentile_interval(1000 * peaks), np.exp(found.x)
    if knee > batches[-1] or peak[1] > WIDEST_PEAK * peak[0]:
        return NoFit("growing", error)
    return Fit(
        peak_fps=float(1000 * peak_fps),
        peak=peak,
        knee_batch=float(knee),
        knee=percentile_interval(knees),
        plateau_batch=float(plateau_batch(knee, overlap, tolerance)),
        plateau=percentile_interval(plateau_batch(knees, overlaps, tolerance)),
        overlap=float(overlap),
        fixed_ms=float(knee / peak_fps),
        error=error,
    )


def _least_squares(log_batches: Array, log_ms: Array, sigma: Array):  # type: ignore[no-untyped-def]
    """SciPy's result for (log images per ms, log knee, log p); its `fun` are residuals in units of `sigma`."""

    def residuals(x: Array) -> Array:
        p = np.exp(x[2])
        return np.asarray((np.logaddexp(p * x[1], p * log_batches) / p - x[0] - log_ms) / sigma)

    def slopes(x: Array) -> Array:
        p = np.exp(x[2])
        fixed = expit(p * (x[1] - log_batches))  # its share of t^p
        mixed = fixed * x[1] + (1 - fixed) * log_batches - np.logaddexp(p * x[1], p * log_batches) / p
        return np.stack([-np.ones_like(fixed), fixed, mixed], axis=1) / sigma[:, None]

    rate = float(np.max(log_batches - log_ms))
    lowest, highest = log_batches[0] - np.log(64), log_batches[-1] + np.log(64)
    start = np.clip(rate + log_ms[0], lowest + 0.01, highest - 0.01)  # the first time is mostly its fixed part
    bounds = ([rate - 2, lowest, 0.0], [rate + 10, highest, np.log(WIDEST_OVERLAP)])
    return least_squares(residuals, [rate, start, 0.3], jac=slopes, bounds=bounds)


def _shifts(jacobian: Array, noise: Array, x: Array) -> Array:
    """How far each draw's `noise` (d, n), in sigmas, moves the parameters: (d, 3). One held by its bound stays."""
    shifts = np.zeros((len(noise), 3))
    free = [0, 1, *([2] if 1e-3 < x[2] < np.log(WIDEST_OVERLAP) - 1e-3 else [])]
    shifts[:, free] = noise @ np.linalg.pinv(jacobian[:, free], rcond=1e-6).T
    return shifts
