"""Where images come from: `builtin`, `torchvision:<Name>`, or `folder` (training/folder.py)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms import v2

from training.builtin import CLASSES, BuiltinScenes
from training.errors import TrainingError
from training.splits import Splits, split_by_class, square

SOURCES = "'builtin', 'folder' (with --data.root) or 'torchvision:<Name>', e.g. torchvision:CIFAR10"


def open_builtin(image_size: int, train_images: int, val_images: int, seed: int) -> Splits:
    """The rendered data set (training/builtin.py); `test` holds as many images as `val`."""
    train, val, test = (
        BuiltinScenes(split, images, image_size, seed)
        for split, images in (("train", train_images), ("val", val_images), ("test", val_images))
    )
    return Splits(train, val, test, list(CLASSES))


def open_torchvision(name: str, root: Path | None, image_size: int, val_fraction: float, seed: int) -> Splits:
    """A data set of `torchvision.datasets`, downloaded to `root` (default data/) when it is not there yet.

    Data sets without parts of their own are split by `seed`.

    Raises:
        TrainingError: no such data set, or it cannot be downloaded.
    """
    if not inspect.isclass(getattr(torchvision.datasets, name, None)):
        raise TrainingError(f"--data.source: torchvision has no data set {name!r}; use {SOURCES}")
    factory: Any = getattr(torchvision.datasets, name)
    keywords = inspect.signature(factory).parameters
    common: dict[str, Any] = {"transform": _from_pil(image_size)}
    if "root" in keywords:  # FakeData has none
        common["root"] = root or Path("data")
    if "download" in keywords:
        common["download"] = True
    try:
        if "train" in keywords:
            train, val = factory(train=True, **common), factory(train=False, **common)
        elif "split" in keywords:
            train, val = factory(split="train", **common), _held_out(factory, common)
        else:
            whole = factory(**common)
            picks = split_by_class(_labels(whole), val_fraction, seed)
            train, val = (Subset(whole, pick) for pick in picks)
            return Splits(train, val, val, _class_names(whole))
    except (OSError, RuntimeError, ValueError, ImportError, TypeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise TrainingError(
            f"--data.source: torchvision:{name} cannot be fetched ({reason}); "
            "without a network use --data.source builtin, or folder with --data.root"
        ) from error
    return Splits(train, val, val, _class_names(train))


def _from_pil(image_size: int) -> Callable[[Image.Image], Tensor]:
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
