"""The built-in scenes: reproducible everywhere, and their finest evidence gone from small images."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from training.builtin import CLASSES, GRAINS, PERIOD_BANDS_PX, SENSOR_NOISE, BuiltinScenes, render_scene
from training.resample import resample


@pytest.mark.parametrize("threads", ["1", "2"])
def test_an_image_is_the_same_in_another_process_with_any_number_of_threads(threads):
    code = (
        "import hashlib, sys; from training.builtin import BuiltinScenes;"
        "sys.stdout.write(hashlib.sha256(BuiltinScenes('train', 8, 224, 7)[3][0].numpy().tobytes()).hexdigest())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, "-c", code]
    digest = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert digest == hashlib.sha256(BuiltinScenes("train", 8, 224, 7)[3][0].numpy().tobytes()).hexdigest()


def test_loader_workers_give_the_same_images_as_the_main_process():
    scenes = BuiltinScenes("val", 8, 64, seed=3)
    batches = list(DataLoader(scenes, batch_size=4, num_workers=2))
    images = torch.cat([batch[0] for batch in batches])
    assert torch.equal(images, torch.stack([scenes[i][0] for i in range(8)]))


@pytest.mark.parametrize("other", [(8, "train", 5), (7, "val", 5), (7, "train", 15)])
def test_another_seed_split_or_index_is_another_scene(other):
    assert not np.array_equal(render_scene(7, "train", 5), render_scene(*other))


def test_classes_are_balanced_and_labels_in_range():
    labels = [BuiltinScenes("train", 40, 32, 0)[i][1] for i in range(40)]
    assert np.bincount(labels).tolist() == [4] * len(CLASSES)


def test_an_image_has_the_size_asked_for():
    for size in (16, 224, 512, 640):
        image, _ = BuiltinScenes("train", 1, size, 0)[0]
        assert image.shape == (3, size, size)
        assert image.dtype == torch.uint8


def test_downsampling_keeps_the_mean():
    canvas = render_scene(0, "train", 0)
    assert resample(canvas, 224).mean() == pytest.approx(canvas.mean(), abs=0.5)


def test_no_scene_is_clipped():
    """Clipped stripes have harmonics, which fold down to where a small image shows them."""
    for index in range(20):
        canvas = render_scene(0, "train", index)
        assert canvas.min() >= 0
        assert canvas.max() <= 255


def _detectabilities(size, period_px, scenes=6):
    """How well rows and columns can be told apart at best, scene by scene, in standard deviations of the noise.

    This is d' of the matched filter, which knows all of both images but the noise: no network can do better. At 0.5 it
    is right in 60% of the cases, where guessing is in 50%.
    """
    found = []
    for index in range(scenes):
        rows, columns = (resample(render_scene(0, "val", index, period_px, grain), size) for grain in GRAINS)
        found.append(np.linalg.norm((rows - columns).astype(float)) / SENSOR_NOISE)
    return found


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize("period_px", PERIOD_BANDS_PX[0])
def test_the_finest_grain_cannot_be_told_at_224_and_256(size, period_px):
    assert max(_detectabilities(size, period_px)) < 0.5


@pytest.mark.parametrize("size", [384, 512])
@pytest.mark.parametrize("period_px", PERIOD_BANDS_PX[0])
def test_the_finest_grain_is_plain_at_384_and_512(size, period_px):
    assert min(_detectabilities(size, period_px)) > 500


@pytest.mark.parametrize("period_px", [*PERIOD_BANDS_PX[1], *PERIOD_BANDS_PX[2]])
def test_the_coarser_grains_are_plain_at_224(period_px):
    assert min(_detectabilities(224, period_px)) > 500


def test_with_the_noise_a_template_of_the_finest_grain_fits_at_384_and_fails_at_224():
    """Single noisy images, as a network gets them, told apart by what the scene would look like without noise."""
    right = {224: 0, 384: 0}
    for index in range(16):
        drawn = [render_scene(0, "val", index, PERIOD_BANDS_PX[0][0], grain) for grain in GRAINS]
        for size in right:
            rows, columns = (resample(canvas, size) for canvas in drawn)
            noise = np.random.default_rng((index, size)).standard_normal(rows.shape, dtype=np.float32)
            image = np.rint((rows, columns)[index % 2] + SENSOR_NOISE * noise)
            toward_columns = np.sum((image - (rows + columns) / 2) * (columns - rows), dtype=float)
            right[size] += bool((toward_columns > 0) == (index % 2 == 1))
    assert right[384] == 16
    assert right[224] <= 13  # of a fair coin's 16 tosses 14 or more are right in 0.2% of the series


def test_row_stripes_vary_along_the_rows_axis_and_column_stripes_across_it():
    for index in range(10):
        image = torch.from_numpy(render_scene(0, "val", index, period_px=3.0))
        down, right = image.diff(n=2, dim=1).square().mean(), image.diff(n=2, dim=2).square().mean()
        assert (down > right) == (GRAINS[index % 2] == "rows")
