"""The built-in data set: scenes rendered on the fly, so that training needs neither a network nor a file.

A scene is a 512 px canvas with a smooth background, clutter, uneven light and one object. Its class is a pair:

* the object's **kind** (disc, square, triangle, ring, cross): coarse, visible at any image size;
* its **grain**, stripes along the rows or along the columns, with a period drawn from one of PERIOD_BANDS_PX. Stripes
  survive down-sampling to `image_size` only while their period is longer than two of the smaller image's pixels: the
  finest band, 40% of the scenes, is gone at 224 and 256 px and there at 384 px.

Nothing else may tell the grain: stripes that ended at an edge, or were clipped at black or white, would leave traces at
lower frequencies. So they fade out smoothly, and all else leaves them room.

Every scene is a function of (seed, split, index) alone: the same in every process and at every epoch, and the same
canvas at every image size.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from training.resample import Float, resample

CANVAS_PX = 512
KINDS = ("disc", "square", "triangle", "ring", "cross")
GRAINS = ("rows", "columns")
CLASSES = tuple(f"{kind}_{grain}" for kind in KINDS for grain in GRAINS)
SPLITS = ("train", "val", "test")

PERIOD_BANDS_PX = ((3.05, 3.3), (5.5, 7.0), (9.0, 16.0))  # of the stripes, in canvas pixels
BAND_SHARES = (0.4, 0.3, 0.3)
WINDOW_RAMP = 0.6  # share of the radius over which the stripes fade out
GRAIN_CONTRAST = 50.0  # mean peak deviation of the stripes, in grey levels of 255; single scenes: 0.8 to 1.2 of it
HEADROOM = 1.2 * GRAIN_CONTRAST  # grey levels that all else stays away from black and from white
SENSOR_NOISE = 5.0  # standard deviation, added after down-sampling, in grey levels of 255


def render_scene(seed: int, split: str, index: int, period_px: float | None = None, grain: str | None = None) -> Float:
    """One canvas, float32 (3, 512, 512), in grey levels of 0 to 255. Its class is `index % 10`, an index into CLASSES.

    `period_px` (canvas pixels) and `grain` override the stripes and leave everything else as it was.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    kind, own_grain = divmod(index % len(CLASSES), len(GRAINS))
    drawn_period_px = rng.uniform(*PERIOD_BANDS_PX[rng.choice(len(BAND_SHARES), p=BAND_SHARES)])
    canvas = _background(rng)
    for _ in range(rng.integers(4, 9)):
        _draw_clutter(canvas, rng)
    placed = _draw_object(canvas, rng, kind)
    canvas *= _light(rng)
    np.clip(canvas, 0, 255, out=canvas)
    canvas *= 1 - 2 * HEADROOM / 255
    canvas += HEADROOM
    _add_grain(canvas, rng, placed, grain or GRAINS[own_grain], period_px or drawn_period_px)
    return canvas


class BuiltinScenes(Dataset[tuple[torch.Tensor, int]]):
    """`images` scenes of one split as (uint8 (3, image_size, image_size), class index), classes in turn."""

    def __init__(self, split: str, images: int, image_size: int, seed: int) -> None:
        self.split, self.images, self.image_size, self.seed = split, images, image_size, seed

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        size = self.image_size
        image = resample(render_scene(self.seed, self.split, index), size)
        bank = _noise(max(1024, 2 * size))
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index, size))
        top, left = rng.integers(0, bank.shape[-1] - size, 2)
        noisy = image + bank[:, top : top + size, left : left + size]
        return torch.from_numpy(np.clip(noisy.round(out=noisy), 0, 255).astype(np.uint8)), index % len(CLASSES)


@cache
def _noise(side_px: int) -> npt.NDArray[np.int16]:
    """One fixed field (3, side_px, side_px) to cut windows from: fresh normals would take longer than the scene."""
    return np.random.default_rng(0).normal(0.0, SENSOR_NOISE, (3, side_px, side_px)).round().astype(np.int16)


@cache
def _line() -> Float:
    return np.arange(CANVAS_PX, dtype=np.float32)


@cache
def _interpolation() -> Float:
    """Weights (512, 5) of linear interpolation between 5 knots that span the canvas."""
    position = np.linspace(0, 4, CANVAS_PX)[:, None] - np.arange(5)
    return np.maximum(0, 1 - np.abs(position)).astype(np.float32)


def _background(rng: np.random.Generator) -> Float:
    """Smooth colours, (3, 512, 512). NumPy: torch's interpolation rounds differently with another thread count."""
    knots: Float = (rng.uniform(40, 200, (1, 5, 5)) + rng.normal(0, 18, (3, 5, 5))).astype(np.float32)
    return np.matmul(np.matmul(_interpolation(), knots), _interpolation().T)


def _light(rng: np.random.Generator) -> Float:
    """A gradient of the light over the canvas, (512, 512), between about 0.6 and 1.3."""
    angle, strength, level = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25), rng.uniform(0.85, 1.1)
    slope = _line() * np.float32(2 * strength / CANVAS_PX) - np.float32(strength)
    return (slope * np.float32(np.sin(angle)))[:, None] + (slope * np.float32(np.cos(angle)) + np.float32(level))


def _inside(kind: str, x: Float, y: Float) -> npt.NDArray[np.bool_]:
    """Mask of a shape over coordinates in units of its radius."""
    if kind == "disc":
        return x * x + y * y < 1
    if kind == "ring":
        squared = x * x + y * y
        return (squared < 1) & (squared > 0.25)
    x_size, y_size = abs(x), abs(y)
    if kind == "square":
        return np.maximum(x_size, y_size) < 0.85
    if kind == "triangle":
        return (y < 0.6) & (x_size * 1.73 - y < 1.1)
    return (np.minimum(x_size, y_size) < 0.33) & (np.maximum(x_size, y_size) < 1)


class _Placed:
    """A shape's bounding box on the canvas, with the coordinates inside it."""

    def __init__(self, rng: np.random.Generator, kind: str, radius_px: float, margin_px: float, tilt: float) -> None:
        self.radius_px = radius_px
        row, column = rng.uniform(margin_px, CANVAS_PX - margin_px, 2)
        reach = 1.2 * radius_px
        self.box = tuple(slice(max(0, int(at - reach)), int(at + reach) + 1) for at in (row, column))
        self.rows = _line()[self.box[0]] - np.float32(row)
        self.columns = _line()[self.box[1]] - np.float32(column)
        cosine, sine = np.float32(np.cos(tilt) / radius_px), np.float32(np.sin(tilt) / radius_px)
        self.x = (self.rows * sine)[:, None] + self.columns * cosine
        self.y = (self.rows * cosine)[:, None] - self.columns * sine
        self.mask = _inside(kind, self.x, self.y)


def _draw_clutter(canvas: Float, rng: np.random.Generator) -> None:
    kind = KINDS[rng.integers(len(KINDS))]
    placed = _Placed(rng, kind, rng.uniform(10, 36), 0, rng.uniform(0, 6.3))
    for channel, level in zip(canvas, rng.uniform(30, 220) + rng.normal(0, 30, 3), strict=True):
        channel[placed.box][placed.mask] = level


def _draw_object(canvas: Float, rng: np.random.Generator, kind: int) -> _Placed:
    radius_px = rng.uniform(110, 170)
    placed = _Placed(rng, KINDS[kind], radius_px, radius_px, rng.uniform(-0.4, 0.4))
    shade = 0.95 + np.float32(0.12) * placed.x
    for channel, level in zip(canvas, _colour(rng, kind), strict=True):
        np.copyto(channel[placed.box], shade * level, where=placed.mask)
    return placed


def _add_grain(canvas: Float, rng: np.random.Generator, placed: _Placed, grain: str, period_px: float) -> None:
    """Stripes over the object and what shows through it, within the square that holds a circle of its radius."""
    lean, phase = rng.uniform(-0.15, 0.15), rng.uniform(0, 2 * np.pi)
    contrast = GRAIN_CONTRAST * rng.uniform(0.8, 1.2)
    along_rows, along_columns = (1.0, lean) if grain == "rows" else (lean, 1.0)
    row_phase = (placed.rows * (along_rows * 2 * np.pi / period_px) + phase).astype(np.float32)[:, None]
    column_phase = (placed.columns * (along_columns * 2 * np.pi / period_px)).astype(np.float32)
    row_window = contrast * _window(placed.rows / placed.radius_px)[:, None]
    column_window = _window(placed.columns / placed.radius_px)
    # sin(a + b) from the sines and cosines of rows and of columns: none has to be computed per pixel.
    stripes = (row_window * np.sin(row_phase)) * (column_window * np.cos(column_phase))
    stripes += (row_window * np.cos(row_phase)) * (column_window * np.sin(column_phase))
    for channel in canvas:
        channel[placed.box] += stripes


def _window(at: Float) -> Float:
    """1 in the middle, 0 from -1 and from 1 outwards, and in between so smooth that stripes get no new frequencies."""
    ramp = np.clip((1 - abs(at)) / np.float32(WINDOW_RAMP), 0, 1)
    return np.float32(0.5) - np.float32(0.5) * np.cos(np.float32(np.pi) * ramp)


def _colour(rng: np.random.Generator, kind: int) -> Float:
    """RGB (3,): each kind has a usual hue, from which single objects stray."""
    hue = kind / len(KINDS) + rng.normal(0, 0.05)
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue - np.array([0, 1 / 3, 2 / 3])))
    saturation = rng.uniform(0.4, 0.85)
    return (rng.uniform(150, 210) * (1 - saturation + saturation * wheel)).astype(np.float32)
