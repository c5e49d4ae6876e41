"""The closed form of large runs against SciPy, and against the bootstrap that it is the limit of."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scipy.stats import mstats

from analysis import asymptotic, stats
from analysis.cells import build_cells
from analysis.summary import summarise
from tests.analysis import synthetic


def find_error(rounds: list[stats.Array], spread: float = stats.PRIOR_SPREAD) -> asymptotic.LocationError:
    return asymptotic.location_error(rounds, [stats.trimmed_mean(samples) for samples in rounds], spread)


@pytest.mark.parametrize("count", [2, 3, 9, 10, 11, 15, 19, 20, 37, 101, 1000])
def test_fast_statistics_are_scipys_to_the_last_bit(count: int) -> None:
    samples = np.random.default_rng(count).gamma(3.0, size=count).round(2)  # with ties
    assert stats.trimmed_mean(samples) == scipy.stats.trim_mean(samples, 0.1)
    theirs = mstats.trimmed_mean_ci(samples, limits=(0.1, 0.1), inclusive=(True, True), alpha=0.05)
    assert stats.trimmed_mean_interval(samples) == tuple(float(end) for end in theirs)


def test_freedom_of_a_sum_of_errors_is_welchs() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=7), rng.normal(size=12) * 3
    squares = np.array([a.var(ddof=1) / a.size, b.var(ddof=1) / b.size])
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False).df
    assert asymptotic._pooled(squares, np.array([a.size - 1, b.size - 1])) == pytest.approx(theirs)


@pytest.mark.parametrize(("rounds", "count"), [(1, 30), (1, 200), (4, 40)])
def test_intervals_are_those_of_the_bootstrap(rounds: int, count: int) -> None:
    rng = np.random.default_rng(rounds)
    samples = [
        10 * (1 + 0.004 * rng.standard_normal()) * (1 + 0.02 * rng.standard_normal(count)) for _ in range(rounds)
    ]
    error = find_error(samples)
    draws = stats.bootstrap_location(samples, np.random.default_rng(2), 40_000)
    drawn = stats.percentile_interval(draws)
    closed = asymptotic.location_interval(error)
    assert closed[1] - closed[0] == pytest.approx(drawn[1] - drawn[0], rel=0.06)
    assert error.centre == pytest.approx(float(np.mean([scipy.stats.trim_mean(each, 0.1) for each in samples])))
    ours = stats.percentile_interval(asymptotic.draw_locations(error, np.random.default_rng(3), 40_000))
    assert ours[1] - ours[0] == pytest.approx(closed[1] - closed[0], rel=0.03)


@pytest.mark.parametrize(("rounds", "spread"), [(1, 0.005), (3, 0.02), (30, 0.02)])
def test_intervals_cover_the_true_time_in_93_to_98_of_100(rounds: int, spread: float) -> None:
    """Normal samples in processes that differ by `spread`, which a run of many contenders knows."""
    rng, covered = np.random.default_rng(4), 0
    for mean in 10 * (1 + spread * rng.standard_normal((1000, rounds))):
        error = find_error([rng.normal(each, 0.3, 20) for each in mean], spread)
        low, high = asymptotic.location_interval(error)
        covered += low <= 10 <= high
    assert 0.93 <= covered / 1000 <= 0.98


def test_ratio_interval_is_that_of_independent_draws() -> None:
    one, other = asymptotic.LocationError(10.0, 0.01, 12.0), asymptotic.LocationError(8.0, 0.02, 30.0)
    drawn = stats.ratio_interval(
        *(asymptotic.draw_locations(e, np.random.default_rng(n), 400_000) for n, e in enumerate((one, other)))
    )
    assert asymptotic.ratio_interval(one, other) == pytest.approx(drawn, rel=0.002)


def test_one_sample_alone_has_no_error() -> None:
    error = find_error([np.array([3.0])])
    assert error.centre == 3.0
    assert all(np.isnan(end) for end in asymptotic.location_interval(error))
    assert all(np.isnan(end) for end in asymptotic.ratio_interval(error, error))
    assert np.isnan(asymptotic.draw_locations(error, np.random.default_rng(1))).all()


@pytest.mark.parametrize(("limit", "most"), [("MOST_RESAMPLED", 5), ("MOST_SAMPLES", 599)])
def test_a_large_run_is_judged_as_a_small_one_is(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, resampled and in closed form: equal means, speedups within their intervals' rounding."""
    rows = synthetic.make_rows(synthetic.CPU[:4], (224,), (1, 8), rounds=3, count=25)
    small = summarise(build_cells(rows), {})
    monkeypatch.setattr(asymptotic, limit, most)
    cells = build_cells(rows)
    large = summarise(cells, {})
    assert not next(iter(cells.values())).resampled
    assert large["mean_ms"].tolist() == small["mean_ms"].tolist()
    assert large["verdict"].tolist() == small["verdict"].tolist()
    for name in ("mean_low_ms", "mean_high_ms", "speedup_low", "speedup_high"):
        assert large[name].to_numpy(float) == pytest.approx(small[name].to_numpy(float), rel=0.004)
    assert next(iter(cells.values())).draws.shape == (stats.DRAWS,)
