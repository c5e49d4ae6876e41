"""The built-in scenes: reproducible everywhere, and their finest evidence gone from small images."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from training.builtin import CLASSES, GRAINS, PERIOD_BANDS_PX, SENSOR_NOISE, BuiltinScenes, downsample, render_scene


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_scene_is_the_same_in_another_process_with_any_number_of_threads(threads):
    code = (
        "import hashlib, sys; from training.builtin import render_scene;"
        "sys.stdout.write(hashlib.sha256(render_scene(7, 'train', 1234).tobytes()).hexdigest())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, "-c", code]
    digest = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert digest == hashlib.sha256(render_scene(7, "train", 1234).tobytes()).hexdigest()


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
    assert downsample(canvas, 224).float().mean().item() == pytest.approx(canvas.mean(), abs=0.5)


def _grain_differences(sizes, period_px, scenes=20):
    """RMS difference, in grey levels, between the same scenes drawn with rows and with columns, seen at each size."""
    squares = {size: [] for size in sizes}
    for index in range(scenes):
        drawn = [render_scene(0, "val", index, period_px, grain) for grain in GRAINS]
        for size in sizes:
            rows, columns = (downsample(canvas, size).float() for canvas in drawn)
            squares[size].append((rows - columns).square().mean())
    return [torch.stack(squares[size]).mean().sqrt().item() for size in sizes]


@pytest.mark.slow
def test_the_finest_grain_is_evidence_at_384_and_512_and_below_the_noise_at_224():
    for period_px in PERIOD_BANDS_PX[0]:
        large, medium, small = _grain_differences((512, 384, 224), period_px)
        assert large > 3 * SENSOR_NOISE
        assert medium > 1 * SENSOR_NOISE
        assert small < 0.4 * SENSOR_NOISE


def test_the_coarser_grains_are_evidence_at_224():
    for period_px in (*PERIOD_BANDS_PX[1], *PERIOD_BANDS_PX[2]):
        assert _grain_differences((224,), period_px)[0] > 1 * SENSOR_NOISE


def test_row_stripes_vary_along_the_rows_axis_and_column_stripes_across_it():
    for index in range(10):
        image = torch.from_numpy(render_scene(0, "val", index, period_px=3.0)).float()
        down, right = image.diff(n=2, dim=1).square().mean(), image.diff(n=2, dim=2).square().mean()
        assert (down > right) == (GRAINS[index % 2] == "rows")
