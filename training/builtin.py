"""The built-in data set: scenes rendered on the fly, so that training needs neither a network nor a file.

A scene is a 512 px canvas with a smooth background, clutter, uneven light and one object. Its class is a pair:

* the object's **kind** (disc, square, triangle, ring, cross): coarse, visible at any image size;
* its **grain** (stripes along rows or along columns): the stripe period is log-distributed from 2.4 to 9.6 canvas
  pixels. A stripe survives down-sampling to `image_size` only while its period is longer than about two of the smaller
  image's pixels, so the share of scenes whose grain can be seen grows with the image size.

Every scene is a function of (seed, split, index) alone: the same in every process and at every epoch, and the same
canvas at every image size.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch.utils.data import Dataset

CANVAS_PX = 512
KINDS = ("disc", "square", "triangle", "ring", "cross")
GRAINS = ("rows", "columns")
CLASSES = tuple(f"{kind}_{grain}" for kind in KINDS for grain in GRAINS)
SPLITS = ("train", "val", "test")

FINEST_PERIOD_PX = 2.4
PERIOD_OCTAVES = 2.0
GRAIN_CONTRAST = 26.0  # peak deviation of the stripes, in grey levels of 255
SENSOR_NOISE = 4.0  # standard deviation after down-sampling, in grey levels of 255

Float = npt.NDArray[np.float32]


def render_scene(seed: int, split: str, index: int, period_px: float | None = None) -> npt.NDArray[np.uint8]:
    """One canvas, uint8 (512, 512, 3). Its class is `index % 10`, an index into CLASSES.

    `period_px` overrides the stripe period (canvas pixels) and leaves everything else as it was.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    kind, grain = divmod(index % len(CLASSES), len(GRAINS))
    drawn_period_px = FINEST_PERIOD_PX * 2 ** (PERIOD_OCTAVES * rng.random() ** 2)
    canvas = _background(rng)
    for _ in range(rng.integers(5, 10)):
        _draw_clutter(canvas, rng)
    _draw_object(canvas, rng, kind, grain, period_px or drawn_period_px)
    canvas *= _light(rng)
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def downsample(canvas: npt.NDArray[np.uint8], image_size: int) -> torch.Tensor:
    """Canvas (H, W, 3) -> uint8 (3, image_size, image_size) through an anti-aliasing (triangle) filter."""
    image = torch.from_numpy(canvas).permute(2, 0, 1)[None]
    if image_size != canvas.shape[0]:
        image = functional.interpolate(image, size=(image_size, image_size), mode="bilinear", antialias=True)
    return image[0]


class BuiltinScenes(Dataset[tuple[torch.Tensor, int]]):
    """`images` scenes of one split as (uint8 (3, image_size, image_size), class index), classes in turn."""

    def __init__(self, split: str, images: int, image_size: int, seed: int) -> None:
        self.split, self.images, self.image_size, self.seed = split, images, image_size, seed

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = downsample(render_scene(self.seed, self.split, index), self.image_size).permute(1, 2, 0).numpy()
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index, self.image_size))
        noisy = np.clip(image + _noise_tile(rng, self.image_size), 0, 255).astype(np.uint8)
        return torch.from_numpy(noisy).permute(2, 0, 1).contiguous(), index % len(CLASSES)


@cache
def _coordinates() -> tuple[Float, Float]:
    """Row and column numbers of the canvas as (512, 1) and (1, 512)."""
    line = np.arange(CANVAS_PX, dtype=np.float32)
    return line[:, None], line[None, :]


@cache
def _noise() -> npt.NDArray[np.int16]:
    noise = np.random.default_rng(0).normal(0.0, SENSOR_NOISE, (1024, 1024, 3))
    return noise.round().astype(np.int16)


def _noise_tile(rng: np.random.Generator, size: int) -> npt.NDArray[np.int16]:
    """A (size, size, 3) window into one fixed noise field: drawing fresh normals would take longer than the scene."""
    bank = _noise()
    top, left = rng.integers(0, bank.shape[0], 2)
    rows, columns = (np.arange(size) + top) % bank.shape[0], (np.arange(size) + left) % bank.shape[1]
    return bank.take(rows, axis=0).take(columns, axis=1)


@cache
def _interpolation(knots: int) -> Float:
    """(512, knots): weights of linear interpolation from `knots` values to the canvas."""
    position = np.linspace(0, knots - 1, CANVAS_PX, dtype=np.float32)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(knots, dtype=np.float32)))


def _background(rng: np.random.Generator) -> Float:
    weights = _interpolation(5)
    knots = rng.uniform(40, 200, (5, 5, 1)) + rng.normal(0, 22, (5, 5, 3))
    wide = np.tensordot(weights, knots.astype(np.float32), 1)  # (512, 5, 3)
    return np.ascontiguousarray(np.einsum("ikc,jk->ijc", wide, weights, optimize=True))


def _light(rng: np.random.Generator) -> Float:
    """A gradient of the light over the canvas, (512, 512, 1), between about 0.6 and 1.25."""
    rows, columns = _coordinates()
    angle, strength, level = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25), rng.uniform(0.8, 1.1)
    slope = np.float32(2 * strength / CANVAS_PX)
    light = level + slope * (np.sin(angle) * (rows - CANVAS_PX / 2) + np.cos(angle) * (columns - CANVAS_PX / 2))
    return light.astype(np.float32)[..., None]


def _inside(kind: str, x: Float, y: Float) -> npt.NDArray[np.bool_]:
    """Mask of a shape over coordinates in units of its radius."""
    if kind == "disc":
        return x * x + y * y < 1
    if kind == "ring":
        squared = x * x + y * y
        return (squared < 1) & (squared > 0.3)
    if kind == "square":
        return np.maximum(abs(x), abs(y)) < 0.85
    if kind == "triangle":
        return (y < 0.6) & (abs(x) * 1.73 - y < 1.1)
    return (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1)


def _window(rng: np.random.Generator, radius_px: float, margin_px: float) -> tuple[slice, slice, float, float]:
    """Where a shape goes: its bounding box and its centre (row, column), `margin_px` or more inside the canvas."""
    row, column = rng.uniform(margin_px, CANVAS_PX - margin_px, 2)
    reach = radius_px * 1.3
    top, left = max(0, int(row - reach)), max(0, int(column - reach))
    return slice(top, int(row + reach) + 1), slice(left, int(column + reach) + 1), row, column


def _local(rows: Float, columns: Float, radius_px: float, tilt: float) -> tuple[Float, Float]:
    cosine, sine = np.float32(np.cos(tilt) / radius_px), np.float32(np.sin(tilt) / radius_px)
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def _draw_clutter(canvas: Float, rng: np.random.Generator) -> None:
    radius_px = rng.uniform(12, 40)
    box_rows, box_columns, row, column = _window(rng, radius_px, 0)
    rows, columns = (grid[..., :] - centre for grid, centre in zip(_coordinates(), (row, column), strict=True))
    x, y = _local(
        rows[box_rows].astype(np.float32), columns[:, box_columns].astype(np.float32), radius_px, rng.uniform(0, 6.3)
    )
    mask = _inside(KINDS[rng.integers(len(KINDS))], x, y)
    canvas[box_rows, box_columns][mask] = rng.uniform(30, 220) + rng.normal(0, 40, 3)


def _draw_object(canvas: Float, rng: np.random.Generator, kind: int, grain: int, period_px: float) -> None:
    radius_px = rng.uniform(100, 165)
    box_rows, box_columns, row, column = _window(rng, radius_px, radius_px * 0.9)
    all_rows, all_columns = _coordinates()
    rows, columns = all_rows[box_rows] - np.float32(row), all_columns[:, box_columns] - np.float32(column)
    x, y = _local(rows, columns, radius_px, rng.uniform(-0.5, 0.5))
    mask = _inside(KINDS[kind], x, y)
    lean = np.float32(rng.uniform(-0.15, 0.15))
    along = (rows + lean * columns) if GRAINS[grain] == "rows" else (columns + lean * rows)
    stripes = np.sin(along * np.float32(2 * np.pi / period_px) + np.float32(rng.uniform(0, 2 * np.pi)))
    contrast = GRAIN_CONTRAST * rng.uniform(0.75, 1.25)
    shade = (1 + 0.15 * x) * 0.9
    colour = _colour(rng, kind)
    patch = shade[..., None] * colour + np.float32(contrast) * stripes[..., None]
    np.copyto(canvas[box_rows, box_columns], patch, where=mask[..., None])


def _colour(rng: np.random.Generator, kind: int) -> Float:
    """RGB (3,): each kind has a usual hue, from which single objects stray."""
    hue = kind / len(KINDS) + rng.normal(0, 0.06)
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue - np.array([0, 1 / 3, 2 / 3])))
    saturation = rng.uniform(0.35, 0.8)
    return (rng.uniform(130, 200) * (1 - saturation + saturation * wheel)).astype(np.float32)
