"""Down-sampling by a sharp low-pass filter: what a smaller image cannot hold is gone, not folded into it.

The filters that resize photographs (triangle, bicubic, Lanczos) let some percent of what lies above the smaller image's
Nyquist limit through, at a wrong frequency: little to the eye, plenty to a network that averages over an object.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

PASS = 0.44  # cycles per pixel of the smaller image: up to here amplitudes are kept
STOP = 0.5  # from here on they are below 3e-4: nothing is folded
HALF_WIDTH_PX = 40  # of the filter, in pixels of the smaller image
KAISER_BETA = 7.3  # 75 dB in the stop band, for that width and those limits

Float = npt.NDArray[np.float32]


def resample(image: Float, size: int) -> Float:
    """Image (3, S, S) -> (3, size, size), float32, not rounded; an image of that size is returned as it is.

    Edges are continued by their last pixel. Enlarging interpolates with the same filter.
    """
    if size == image.shape[-1]:
        return image
    weights = filter_matrix(image.shape[-1], size)
    return np.matmul(np.matmul(weights, image), weights.T)


@cache
def filter_matrix(before: int, after: int) -> Float:
    """Matrix (after, before) of a sinc under a Kaiser window, pixel centres aligned; each row adds up to 1."""
    scale = max(before / after, 1.0)  # of the filter, in pixels before
    centres = (np.arange(after)[:, None] + 0.5) * before / after - 0.5
    taps = np.floor(centres - HALF_WIDTH_PX * scale).astype(int) + np.arange(int(2 * HALF_WIDTH_PX * scale) + 2)
    at = (taps - centres) / scale
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (at / HALF_WIDTH_PX) ** 2))) * (abs(at) < HALF_WIDTH_PX)
    weights = np.zeros((after, before))
    np.add.at(weights, (np.arange(after)[:, None], taps.clip(0, before - 1)), np.sinc((PASS + STOP) * at) * window)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
