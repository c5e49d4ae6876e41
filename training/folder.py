"""Pictures in folders, one sub-folder per class: read upright, as RGB, and checked before training starts."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder

from training.errors import TrainingError
from training.splits import Splits, split_by_class, square


class BadImageError(TrainingError):
    """An image file that cannot be decoded."""


def open_rgb(path: str | Path) -> Image.Image:
    """The picture as RGB, turned upright (EXIF), transparency laid over white.

    Raises:
        BadImageError: not an image, or cut short.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                page = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(page, upright)
            return upright.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImageError(
            f"{path}: damaged or not an image; replace or delete it, or leave such files out with "
            "--data.on_bad_image skip"
        ) from error


def open_folder(root: Path | None, image_size: int, val_fraction: float, seed: int, on_bad_image: str) -> Splits:
    """One sub-folder per class, either under `root`/train and `root`/val (and /test), or under `root` alone.

    In the second case a seeded `val_fraction` of each class becomes the validation set.

    Raises:
        TrainingError: `root` is missing, holds no classes, or has a class without images; BadImageError when
        `on_bad_image` is "stop" and a file cannot be decoded.
    """
    if root is None or not root.is_dir():
        raise TrainingError(f"--data.root: {root} is not a folder; name one with a sub-folder of images per class")
    parts = {part: root / part for part in ("train", "val", "test") if (root / part).is_dir()}
    if {"train", "val"} <= parts.keys():
        opened = {part: _image_folder(path, image_size, on_bad_image) for part, path in parts.items()}
        for part, images in opened.items():
            if images.classes != opened["train"].classes:
                raise TrainingError(
                    f"--data.root: {parts[part]} has other classes than {parts['train']}; make them equal"
                )
        return Splits(opened["train"], opened["val"], opened.get("test", opened["val"]), opened["train"].classes)
    images = _image_folder(root, image_size, on_bad_image)
    train, val = split_by_class(images.targets, val_fraction, seed)
    if not train or not val:
        raise TrainingError(f"--data.root: {root} has too few images to split; give each class at least 2")
    validation = Subset(images, val)
    return Splits(Subset(images, train), validation, validation, images.classes)


def _image_folder(path: Path, image_size: int, on_bad_image: str) -> ImageFolder:
    """Every image below `path`, after each file has been decoded once."""
    try:
        images = ImageFolder(str(path), transform=square(image_size), loader=open_rgb)
    except FileNotFoundError as error:
        raise TrainingError(
            f"--data.root: {_first_sentence(error, path)}; put images into it or delete the folder"
        ) from error
    bad = list(filter(None, map(_fault, (name for name, _ in images.samples))))
    if bad and on_bad_image == "stop":
        raise BadImageError(f"{bad[0][1]}" + (f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""))
    for name, _ in bad:
        warnings.warn(f"{name}: damaged or not an image; left out (--data.on_bad_image skip)", stacklevel=2)
    broken = {name for name, _ in bad}
    images.samples = images.imgs = [sample for sample in images.samples if sample[0] not in broken]
    images.targets = [label for _, label in images.samples]
    if empty := sorted(set(range(len(images.classes))) - set(images.targets)):
        raise TrainingError(
            f"--data.root: {path / images.classes[empty[0]]} has no readable image; add some or delete it"
        )
    return images


def _fault(name: str) -> tuple[str, str] | None:
    try:
        open_rgb(name)
    except BadImageError as error:
        return name, str(error)
    return None


def _first_sentence(error: Exception, path: Path) -> str:
    reason = str(error).splitlines()[0].split(". Supported")[0]
    return f"{path}: {reason.rstrip('.')}"
