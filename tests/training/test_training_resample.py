"""Down-sampling against sampling theory, SciPy's filter and the cosines it should keep or remove."""

import numpy as np
import pytest
from scipy.signal import freqz, kaiser_beta

from training.resample import HALF_WIDTH_PX, KAISER_BETA, PASS, STOP, filter_matrix, resample

SIDE_PX = 512


def striped(period_px, phase=0.0):
    """Three channels of stripes along the rows, amplitude 1, that fade out before the edges as the scenes' do."""
    at = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    window = np.cos(np.pi / 2 * np.clip((abs(at) / 250 - 0.4) / 0.6, 0, 1)) ** 2
    line = window * np.cos(2 * np.pi * at / period_px + phase)
    return np.broadcast_to(line[:, None], (3, SIDE_PX, SIDE_PX)).astype(np.float32)


def amplitude(period_px, size):
    """Largest amplitude after down-sampling, over both phases of the stripes."""
    phases = [resample(striped(period_px, phase), size).astype(float) for phase in (0, np.pi / 2)]
    return np.hypot(*phases).max()


@pytest.mark.parametrize(("size", "period_px"), [(224, 5.5), (224, 9), (256, 5.5), (384, 3.05), (384, 16), (512, 3.05)])
def test_stripes_that_the_smaller_image_can_hold_keep_their_amplitude(size, period_px):
    assert amplitude(period_px, size) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("size", "period_px"),
    [(64, 9), (224, 2.1), (224, 3.05), (224, 3.8), (256, 2.1), (256, 3.05), (256, 3.3), (384, 2.5)],
)
def test_stripes_above_the_nyquist_limit_leave_nothing(size, period_px):
    assert amplitude(period_px, size) < 3e-4


@pytest.mark.parametrize("size", [32, 224, 256, 384])
def test_the_filter_passes_and_stops_what_its_limits_say(size):
    """The frequency response of the weights of a middle pixel, by SciPy."""
    before = max(SIDE_PX, 2 * HALF_WIDTH_PX * SIDE_PX // size)  # so that no edge cuts the filter
    after = before * size // SIDE_PX
    cycles_per_px, response = freqz(filter_matrix(before, after)[after // 2], worN=2**14, fs=before / after)
    assert abs(abs(response[cycles_per_px <= PASS]) - 1).max() < 3e-4
    assert abs(response[cycles_per_px >= STOP]).max() < 3e-4


def test_the_window_is_the_one_for_75_decibels():
    assert pytest.approx(kaiser_beta(75), abs=0.01) == KAISER_BETA


@pytest.mark.parametrize("size", [32, 223, 224, 384, 511, 513, 1024, 2048])
def test_a_flat_image_stays_flat(size):
    image = np.broadcast_to(np.float32([10, 100, 250])[:, None, None], (3, SIDE_PX, SIDE_PX))
    resampled = resample(image, size)
    assert resampled.shape == (3, size, size)
    assert resampled.dtype == np.float32
    assert np.allclose(resampled, image[:, :1, :1], rtol=1e-5)


def test_an_image_of_the_size_asked_for_is_returned_as_it_is():
    image = striped(4)
    assert resample(image, SIDE_PX) is image


def test_enlarging_interpolates_band_limited_stripes():
    """Pixel centres lie at (i + 0.5) / size of the side: the stripes continue between the old pixels."""
    size = 1024
    at = (np.arange(size) + 0.5) * SIDE_PX / size - 0.5
    expected = np.cos(2 * np.pi * at / 5)
    line = np.cos(2 * np.pi * np.arange(SIDE_PX) / 5)
    image = np.broadcast_to(line[:, None], (3, SIDE_PX, SIDE_PX)).astype(np.float32)
    inside = slice(200, -200)  # the last pixel is repeated past the edge, the stripes are not
    assert np.allclose(resample(image, size)[0, inside, size // 2], expected[inside], atol=1e-3)


def test_rows_and_columns_are_treated_alike():
    image = np.random.default_rng(0).uniform(0, 255, (3, SIDE_PX, SIDE_PX)).astype(np.float32)
    turned = np.ascontiguousarray(image.transpose(0, 2, 1))
    assert np.allclose(resample(turned, 224), resample(image, 224).transpose(0, 2, 1), atol=1e-3)
