"""Where images come from: `builtin`, `folder` or `torchvision:<Name>`, each as three splits with class names."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from training.builtin import CLASSES, BuiltinScenes
from training.errors import TrainingError

Images = Dataset[tuple[torch.Tensor, int]]
SOURCES = "'builtin', 'folder' (with --data.root) or 'torchvision:<Name>', e.g. torchvision:CIFAR10"


@dataclass(frozen=True)
class Splits:
    """Three sets of (uint8 (3, S, S), class index), not augmented. `test` may be `val` itself."""

    train: Images
    val: Images
    test: Images
    classes: list[str]


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


def square(image_size: int) -> Callable[[Image.Image], torch.Tensor]:
    """PIL image -> uint8 (3, image_size, image_size): shorter side scaled to `image_size`, centre cut out."""
    return v2.Compose([v2.PILToTensor(), v2.Resize(image_size, antialias=True), v2.CenterCrop(image_size)])


def open_builtin(image_size: int, train_images: int, val_images: int, seed: int) -> Splits:
    """The rendered data set (training/builtin.py); `test` holds as many images as `val`."""
    train, val, test = (
        BuiltinScenes(split, images, image_size, seed)
        for split, images in (("train", train_images), ("val", val_images), ("test", val_images))
    )
    return Splits(train, val, test, list(CLASSES))


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
    train, val = _split_by_class(images.targets, val_fraction, seed)
    if not train or not val:
        raise TrainingError(f"--data.root: {root} has too few images to split; give each class at least 2")
    validation = Subset(images, val)
    return Splits(Subset(images, train), validation, validation, images.classes)


def open_torchvision(name: str, root: Path | None, image_size: int, val_fraction: float, seed: int) -> Splits:
    """A data set of `torchvision.datasets`, downloaded to `root` (default data/) when it is not there yet.

    Data sets without parts of their own are split by `seed`.

    Raises:
        TrainingError: no such data set, or it cannot be downloaded.
    """
    factory = getattr(torchvision.datasets, name, None)
    if not inspect.isclass(factory) or "root" not in inspect.signature(factory).parameters:
        raise TrainingError(f"--data.source: torchvision has no image data set {name!r}; use {SOURCES}")
    keywords = inspect.signature(factory).parameters
    common: dict[str, Any] = {"root": root or Path("data"), "transform": _from_pil(image_size)}
    if "download" in keywords:
        common["download"] = True
    try:
        if "train" in keywords:
            train, val = factory(train=True, **common), factory(train=False, **common)
        elif "split" in keywords:
            train, val = factory(split="train", **common), _held_out(factory, common)
        else:
            whole = factory(**common)
            picks = _split_by_class(_labels(whole), val_fraction, seed)
            train, val = (Subset(whole, pick) for pick in picks)
            return Splits(train, val, val, _class_names(whole))
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise TrainingError(
            f"--data.source: torchvision:{name} cannot be fetched ({(str(error).splitlines() or ['no reason given'])[0]}); "
            "without a network use --data.source builtin, or folder with --data.root"
        ) from error
    return Splits(train, val, val, _class_names(train))


def _from_pil(image_size: int) -> Callable[[Image.Image], torch.Tensor]:
    return v2.Compose([v2.Lambda(lambda image: image.convert("RGB")), square(image_size)])


def _held_out(factory: Callable[..., Any], common: dict[str, Any]) -> Any:
    for split in ("val", "test", "valid"):
        try:
            return factory(split=split, **common)
        except ValueError as error:  # torchvision: 'Unknown value 'val' for argument split'
            reason = error
    raise reason


def _class_names(dataset: Any) -> list[str]:
    names = getattr(dataset, "classes", None) or range(int(max(_labels(dataset))) + 1)
    return [
        name if isinstance(name, str) else ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)
        for name in names
    ]


def _labels(dataset: Any) -> list[int]:
    for attribute in ("targets", "_labels", "labels", "y"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return [int(label) for label in labels]
    return [int(dataset[i][1]) for i in range(len(dataset))]


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


def _split_by_class(labels: Sequence[int], val_fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices for training and validation; at least one image of each class that has two goes to validation."""
    generator = torch.Generator().manual_seed(seed)
    train: list[int] = []
    val: list[int] = []
    for label in sorted(set(labels)):
        members = [index for index, other in enumerate(labels) if other == label]
        order = [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]
        held_out = min(len(order) - 1, max(1, round(len(order) * val_fraction)))
        val += order[:held_out]
        train += order[held_out:]
    return sorted(train), sorted(val)
