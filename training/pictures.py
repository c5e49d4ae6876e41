"""One picture file, of whatever kind, as upright RGB. The table of kinds is in docs/data.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from training.errors import TrainingError

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


class BadImageError(TrainingError):
    """An image file that cannot be decoded."""


def is_picture(path: str) -> bool:
    """By its name: a known extension, and not hidden (macOS leaves `._photo.jpg` beside photo.jpg)."""
    name = Path(path).name
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def open_rgb(path: str | Path) -> Image.Image:
    """The picture as RGB, turned upright (EXIF), transparency laid over white, 16 bits per channel brought to 8.

    Raises:
        BadImageError: not an image, cut short, or so large that it may be an attack.
    """
    mend = "replace or delete it, or leave such files out with --data.on_bad_image skip"
    try:
        return _decode(path)
    except BadImageError as error:
        raise BadImageError(f"{path}: {error}; {mend}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise BadImageError(f"{path}: more than {limit / 1e6:.0f} million pixels, maybe an attack; {mend}") from error
    except Exception as error:  # Pillow's decoders let through whatever a damaged file makes them do
        raise BadImageError(f"{path}: damaged or not an image; {mend}") from error


def _decode(path: str | Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        upright = _upright(image)
    if upright.mode[0] in "IF":  # Pillow would cut off at 255
        upright = _eight_bits(upright)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        page = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(page, upright)
    return upright.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits. Wider integers and floats have no range that all programs agree on."""
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.max() >= 2**16:
        raise BadImageError("32 bits per pixel, whose black and white are not known")
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # metadata that cannot be read say nothing about the pixels
        return image
