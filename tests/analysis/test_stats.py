from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scipy.stats import mstats

from analysis import stats


@pytest.mark.parametrize("count", [1, 5, 9, 10, 15, 19, 20, 101])
def test_trimmed_mean_drops_a_tenth_rounded_down_on_each_side(count: int) -> None:
    samples = np.random.default_rng(count).lognormal(size=count)
    ordered = sorted(samples)
    kept = ordered[count // 10 : count - count // 10]
    assert stats.trimmed_mean(samples) == pytest.approx(sum(kept) / len(kept))


def test_trimmed_mean_of_published_example() -> None:
    """R: mean(c(1:19, 1000), trim = 0.1) is 10.5, since 1, 2, 19 and 1000 go."""
    assert stats.trimmed_mean(np.array([*range(1, 20), 1000.0])) == pytest.approx(10.5)


@pytest.mark.parametrize("count", [12, 16, 20, 30, 200])
def test_interval_is_tukey_mclaughlins_written_out(count: int) -> None:
    """Mean +- t(h - 1) * s_w / ((1 - 2 g/n) sqrt(n)), with the winsorised deviation from SciPy's own winsorize."""
    samples = np.random.default_rng(count).gamma(3.0, size=count)
    dropped = count // 10
    kept = count - 2 * dropped
    winsorised = np.asarray(mstats.winsorize(samples, limits=(dropped / count + 1e-12, dropped / count + 1e-12)))
    error = winsorised.std(ddof=1) / (0.8 * np.sqrt(count))
    half = scipy.stats.t.ppf(0.975, kept - 1) * error
    low, high = stats.trimmed_mean_interval(samples)
    middle = scipy.stats.trim_mean(samples, 0.1)
    assert (low, high) == pytest.approx((middle - half, middle + half))


def test_interval_covers_the_true_mean_of_a_gaussian_in_93_to_97_of_100() -> None:
    rng = np.random.default_rng(5)
    trials = rng.normal(10.0, 1.0, (2000, 30))
    covered = sum(low <= 10.0 <= high for low, high in map(stats.trimmed_mean_interval, trials))
    assert 0.93 <= covered / 2000 <= 0.97


def test_bootstrap_has_the_spread_of_scipys() -> None:
    samples = np.random.default_rng(3).gamma(4.0, size=80)
    ours = stats.bootstrap_trimmed_means(samples, np.random.default_rng(1), 20_000)
    theirs = scipy.stats.bootstrap(
        (samples,), lambda x, axis: scipy.stats.trim_mean(x, 0.1, axis=axis),
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(2), confidence_level=0.95,
    )  # fmt: skip
    assert ours.std(ddof=1) == pytest.approx(theirs.standard_error, rel=0.03)
    assert np.quantile(ours, [0.025, 0.975]) == pytest.approx(list(theirs.confidence_interval), rel=0.01)


def test_bootstrap_is_the_same_in_one_piece_and_in_many() -> None:
    """Thousands of samples are drawn in steps; the steps must fill every draw."""
    samples = np.random.default_rng(3).normal(5.0, 0.1, 30_000)
    draws = stats.bootstrap_trimmed_means(samples, np.random.default_rng(1), 150)
    assert draws.shape == (150,)
    assert np.all(np.abs(draws - 5.0) < 0.01)


def test_ratio_of_equals_is_a_tie_in_at_least_95_of_100() -> None:
    rng = np.random.default_rng(11)

    def draw() -> np.ndarray:
        return stats.bootstrap_location([rng.normal(10.0, 0.2, 40)], rng, 1000)

    verdicts = [stats.verdict(stats.ratio_interval(draw(), draw())) for _ in range(100)]
    assert verdicts.count("tie") >= 95


def test_ratio_of_equals_is_a_tie_when_rounds_differ_more_than_samples() -> None:
    """Three rounds that drift by 1% each way around samples with 0.1% noise: only the rounds tell the spread."""
    rng = np.random.default_rng(12)

    def draw() -> np.ndarray:
        rounds = [10.0 * rng.normal(1.0, 0.01) * rng.normal(1.0, 0.001, 30) for _ in range(3)]
        return stats.bootstrap_location(rounds, rng, 1000)

    verdicts = [stats.verdict(stats.ratio_interval(draw(), draw())) for _ in range(100)]
    assert verdicts.count("tie") >= 95


def test_rounds_cover_the_true_mean_as_often_as_they_claim() -> None:
    rng = np.random.default_rng(13)
    covered = 0
    for _ in range(200):
        rounds = [rng.normal(10.0, 0.1) + rng.normal(0.0, 0.05, 20) for _ in range(4)]
        low, high = stats.percentile_interval(stats.bootstrap_location(rounds, rng, 1000, spread=0.01))
        covered += low <= 10.0 <= high
    assert covered / 200 >= 0.92


def test_spread_of_many_processes_is_their_standard_deviation() -> None:
    """300 contenders of three processes each outweigh what is assumed beforehand."""
    rng = np.random.default_rng(15)
    times = [10.0 * rng.uniform(1, 5) * np.exp(rng.normal(0.0, 0.02, 3)) for _ in range(300)]
    assert stats.process_spread(times) == pytest.approx(0.02, rel=0.07)


def test_spread_without_repetition_is_the_prior() -> None:
    assert stats.process_spread([]) == stats.process_spread([np.array([3.0])]) == pytest.approx(stats.PRIOR_SPREAD)


def test_a_cell_whose_rounds_differ_more_than_the_run_is_believed() -> None:
    rounds = [np.array([10.0, 10.01, 10.02]) * factor for factor in (0.9, 1.0, 1.1)]
    low, high = stats.percentile_interval(stats.bootstrap_location(rounds, np.random.default_rng(1), spread=0.001))
    assert low < 9.0
    assert high > 11.0


def test_five_percent_slower_is_found() -> None:
    rng = np.random.default_rng(14)
    for _ in range(50):
        base, slow = rng.normal(10.0, 0.2, 40), rng.normal(10.5, 0.2, 40)
        draws = [stats.bootstrap_location([samples], rng, 1000) for samples in (base, slow)]
        assert stats.verdict(stats.ratio_interval(*draws)) == "slower"


def test_one_sample_gives_no_interval_and_no_verdict() -> None:
    rng = np.random.default_rng(1)
    draws = stats.bootstrap_location([np.array([3.0])], rng)
    assert np.isnan(stats.trimmed_mean_interval(np.array([3.0]))).all()
    assert stats.verdict(stats.ratio_interval(draws, draws)) == "unknown"


def test_a_time_stays_positive_however_wide_the_interval() -> None:
    draws = stats.bootstrap_location([np.array([1.0, 1.1]), np.array([9.0, 9.1])], np.random.default_rng(1))
    assert np.all(draws > 0)
