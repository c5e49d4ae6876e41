"""Curves over batch size: parameters known beforehand come back; the points of a real card are described."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import brentq, least_squares

from analysis.cells import build_cells
from analysis.fit import Fit, NoFit, fit_batches, plateau_batch, time_ms
from analysis.saturation import TOLERANCE, find_saturation
from tests.analysis import synthetic

BATCHES = np.array([1.0, 4, 16, 32, 64, 128, 256, 1024])
# ResNet-18 at 224 px on an NVIDIA H200, images per second by batch: loops of CUDA events independent of the harness.
H200 = {
    "eager fp32": {1: 668, 32: 7406, 256: 10743, 1024: 11437},
    "eager tf32": {1: 714, 32: 16249, 256: 21399, 1024: 22301},
    "eager fp16 channels_last": {1: 741, 32: 23281, 256: 49651, 1024: 52473},
    "graph fp16": {1: 2876, 32: 35966, 256: 51138, 1024: 52870},
    "fused graph fp16": {1: 4846, 32: 56918, 256: 84488, 1024: 86225},
    "ONNX Runtime fp16": {1: 1725, 32: 26088, 256: 39926, 1024: 42011},
    "ONNX Runtime fp16 NHWC graph": {1: 4080, 32: 43425, 256: 62944, 1024: 64030},
    "ONNX Runtime tf32 NHWC graph": {1: 3276, 32: 26585, 256: 35024, 1024: 36158},
}


def drawn(ms: np.ndarray, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times with noise, and draws that know how large the noise is."""
    rng = np.random.default_rng(seed)
    seen = ms * np.exp(noise * rng.standard_normal(ms.size))
    return seen, seen * np.exp(noise * rng.standard_normal((1000, ms.size)))


def fitted(ms: np.ndarray, noise: float = 0.005, seed: int = 0, batches: Sequence[float] = BATCHES) -> Fit:
    found = fit_batches(np.asarray(batches), *drawn(ms, noise, seed), TOLERANCE)
    assert isinstance(found, Fit)
    return found


@pytest.mark.parametrize("overlap", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("knee", [4.0, 20.0, 70.0])
def test_a_known_curve_comes_back(knee: float, overlap: float) -> None:
    found = fitted(time_ms(BATCHES, 50_000, knee, overlap))
    assert found.peak_fps == pytest.approx(50_000, rel=0.02)
    assert found.knee_batch == pytest.approx(knee, rel=0.1)
    assert found.fixed_ms == pytest.approx(knee / 50, rel=0.1)


def test_plateau_begins_where_the_curve_is_within_the_tolerance() -> None:
    """Against a root found by SciPy."""

    def short(batch: float) -> float:
        return float(batch * 1000 / time_ms(np.array(batch), 50_000, 20, 1.7)) - 0.95 * 50_000

    assert plateau_batch(np.array(20.0), np.array(1.7), 0.05) == pytest.approx(brentq(short, 1, 10_000))


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_intervals_hold_the_truth(noise: float) -> None:
    """95% intervals miss it in one of twenty cases, and a little oftener by the linearisation."""
    ms = time_ms(BATCHES, 50_000, 20, 1.3)
    fits = [fit_batches(BATCHES, *drawn(ms, noise, seed), TOLERANCE) for seed in range(60)]
    known = [found for found in fits if isinstance(found, Fit)]
    assert len(known) >= 55
    assert np.mean([found.peak[0] <= 50_000 <= found.peak[1] for found in known]) >= 0.85
    assert np.mean([found.knee[0] <= 20 <= found.knee[1] for found in known]) >= 0.85


@pytest.mark.parametrize("name", H200)
def test_points_of_a_real_card_are_described_within_the_tolerance(name: str) -> None:
    batches, fps = np.array(list(H200[name].items()), dtype=float).T
    ms = batches / fps * 1000
    noise = np.random.default_rng(1).standard_normal((1000, ms.size))
    found = fit_batches(batches, ms, ms * np.exp(0.005 * noise), TOLERANCE)
    assert isinstance(found, Fit)
    assert found.error <= TOLERANCE
    assert time_ms(batches, found.peak_fps, found.knee_batch, found.overlap) == pytest.approx(ms, rel=0.05)


def test_the_minimum_is_the_one_that_numerical_slopes_find() -> None:
    ms = time_ms(BATCHES, 50_000, 20, 1.6) * np.exp(0.02 * np.random.default_rng(5).standard_normal(BATCHES.size))

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.log(time_ms(BATCHES, *np.exp(x)) / ms)

    numerical = np.exp(least_squares(residuals, np.log([40_000, 10, 1.2])).x)
    found = fit_batches(BATCHES, ms, ms * np.exp(1e-4 * np.random.default_rng(6).standard_normal((500, 8))), TOLERANCE)
    assert isinstance(found, Fit)
    assert [found.peak_fps, found.knee_batch, found.overlap] == pytest.approx(numerical, rel=1e-3)


def test_without_overlap_host_bound_series_of_a_real_card_are_missed_by_a_tenth() -> None:
    """Why the model has a third parameter: Hockney's two, fitted with equal weights by SciPy."""
    missed = set()
    for name, points in H200.items():
        batches, fps = np.array(list(points.items()), dtype=float).T
        times = np.log(batches / fps)

        def residuals(x: np.ndarray, batches: np.ndarray = batches, times: np.ndarray = times) -> np.ndarray:
            return np.asarray(np.logaddexp(x[1], np.log(batches)) - x[0] - times)

        fit = least_squares(residuals, [np.log(fps.max()), np.log(fps.max() / fps[0])])
        if np.sqrt(np.mean(fit.fun**2)) > 0.1:
            missed.add(name)
    assert missed == {"eager tf32", "eager fp16 channels_last"}


@pytest.mark.parametrize(
    ("ms", "reason"),
    [
        (time_ms(BATCHES[:3], 50_000, 20, 1.0), "batches"),
        (time_ms(BATCHES, 50_000, 5_000, 1.0), "growing"),
        (np.array([20.0, 36, 90, 250, 700, 2000, 5000, 30_000]), "falls"),
        (np.array([2.0, 3, 20, 21, 22, 140, 150, 330]), "shape"),
    ],
)
def test_points_that_support_no_curve_get_a_reason(ms: np.ndarray, reason: str) -> None:
    found = fit_batches(BATCHES[: ms.size], *drawn(ms, 0.005, 2), TOLERANCE)
    assert isinstance(found, NoFit)
    assert found.reason == reason


def test_without_intervals_there_is_no_curve() -> None:
    ms = time_ms(BATCHES, 50_000, 20, 1.0)
    assert fit_batches(BATCHES, ms, np.full((10, ms.size), np.nan), TOLERANCE) == NoFit("samples")


def test_constant_images_per_second_have_their_knee_below_the_smallest_batch() -> None:
    found = fitted(BATCHES / 50)
    assert found.peak_fps == pytest.approx(50_000, rel=0.02)
    assert found.knee_batch < 0.5


MODEL = synthetic.Model("pytorch", "eager", "fp16", 1.2, 0.02)  # knee at 60, peak of 50,000 images/s at 224 px


def measured(batches: Sequence[int], **changes: object) -> dict:
    rows = [synthetic.make_row(MODEL, 224, b, count=30, **changes) for b in batches]
    return find_saturation(build_cells(rows)).iloc[0].to_dict()


def test_rows_with_a_known_knee() -> None:
    """The rows' law has b^0.99 per image, hence a peak a little above 1000 / image_ms."""
    point = measured([1, 4, 16, 32, 64, 128, 256, 512, 1024])
    assert point["no_fit"] == ""
    assert point["knee_batch"] == pytest.approx(60, rel=0.1)
    assert point["peak_fps"] == pytest.approx(53_000, rel=0.05)
    assert point["underfed_low"] < point["underfed_ratio"] < point["underfed_high"]


def test_ninety_ninth_percentile_is_compared_between_best_and_saturation_batch() -> None:
    rows = [
        synthetic.make_row(MODEL, 224, b, samples={"device_ms": [ms] * 19 + [ms * 1.1], "host_ms": [ms] * 20})
        for b, ms in ((1, 1.0), (16, 2.0), (32, 3.9), (64, 7.75))
    ]
    point = find_saturation(build_cells(rows)).iloc[0]
    assert (point["saturation_batch"], point["best_batch"]) == (16, 64)
    assert point["p99_ratio"] == pytest.approx(7.75 / 2.0)


@pytest.mark.parametrize(("batches", "reason"), [((8,), "batches"), ((1, 8), "batches"), ((1, 4, 16, 32), "growing")])
def test_few_batches_still_give_a_saturation_batch_but_no_curve(batches: tuple, reason: str) -> None:
    point = measured(batches)
    assert point["saturation_batch"] == max(batches)
    assert point["no_fit"] == reason


def test_nothing_measured_has_no_saturation() -> None:
    assert find_saturation(build_cells([synthetic.failed_row(MODEL, 224, 1, "crashed", "died")])).empty
