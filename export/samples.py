"""The images an export is checked, calibrated and referenced with: training's samples, or synthetic ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.files import BadInputError, sha256_of

Images = NDArray[np.uint8]
SYNTHETIC_SEED = 0
PIXELS = 128 * 512**2  # of one channel that a set of synthetic images may hold: 128 images up to 512 px, 8 at 2048


@dataclass(frozen=True)
class Samples:
    """Images are uint8 (n, 3, size, size), labels int64 (n,). `labelled`: False when the images are synthetic.

    `sha256` is that of the samples file, None when there is none.
    """

    val_images: Images
    val_labels: NDArray[np.int64]
    train_images: Images
    labelled: bool
    sha256: str | None


def normalise(images: Images, mean: list[float], std: list[float]) -> NDArray[np.float32]:
    """(x / 255 - mean) / std per channel, float32, the shape of `images` (n, 3, size, size)."""
    mean_, std_ = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (mean, std))
    normalised: NDArray[np.float32] = (images.astype(np.float32) / np.float32(255) - mean_) / std_
    return normalised


def limit_batch(batch_size: int, image_size: int) -> int:
    """`batch_size` up to 512 px, fewer images above, so that a batch keeps its number of pixels; at least 1."""
    return max(1, min(batch_size, batch_size * 512**2 // image_size**2))


def smooth_noise(count: int, image_size: int, seed: int) -> Images:
    """Seeded low-frequency noise, (count, 3, image_size, image_size): an 8 x 8 random grid, interpolated linearly.

    White noise would average out in the first pooling and calibrate nothing.
    """
    grid = np.random.default_rng(seed).uniform(0, 255, size=(count, 3, 8, 8))
    position = np.linspace(0, 7, image_size)
    low = np.minimum(position.astype(int), 6)
    weight = np.zeros((image_size, 8))
    weight[np.arange(image_size), low] = 1 - (position - low)
    weight[np.arange(image_size), low + 1] = position - low
    images = np.empty((count, 3, image_size, image_size), np.uint8)
    for image, cells in zip(images, grid, strict=True):  # one at a time: in double precision all would not fit
        image[:] = (weight @ cells @ weight.T).round()
    return images


def synthetic_samples(image_size: int) -> Samples:
    """128 images for checks and 64 for calibration, fewer above 512 px; all labels are 0 and mean nothing."""
    images = min(128, PIXELS // image_size**2)
    calibration_images = images // 2
    noise = smooth_noise(images + calibration_images, image_size, SYNTHETIC_SEED)
    return Samples(noise[:images], np.zeros(images, np.int64), noise[images:], labelled=False, sha256=None)


def check_samples(path: Path, arrays: dict[str, NDArray[Any]], image_size: int, num_classes: int) -> Samples:
    """Samples that were read from `path`, proven to fit the weights they stand beside.

    Raises BadInputError for images of another size or labels of other classes.
    """
    mend = "train that size again, or delete the file to use synthetic images"
    for name in ("val_images", "train_images"):
        if (shape := arrays[name].shape)[1:] != (3, image_size, image_size):
            raise BadInputError(f"{path}: {name} is {shape}, not (n, 3, {image_size}, {image_size}); {mend}")
    labels = arrays["val_labels"]
    if labels.min() < 0 or labels.max() >= num_classes:
        raise BadInputError(f"{path}: val_labels holds a label outside 0..{num_classes - 1}; {mend}")
    return Samples(arrays["val_images"], labels.astype(np.int64), arrays["train_images"], True, sha256_of(path))
