"""Pictures in folders, one sub-folder per class: listed, checked, and shared out to training and validation."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch.utils.data import Subset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes

from training.errors import TrainingError
from training.pictures import BadImageError, is_picture, open_rgb
from training.progress import shown
from training.splits import Images, Splits, split_by_class, square

PARTS = ("train", "val", "test")


class Pictures(ImageFolder):
    """torchvision's ImageFolder without hidden folders (.ipynb_checkpoints would be a class of its own)."""

    def __init__(self, path: Path, image_size: int) -> None:
        super().__init__(str(path), transform=square(image_size), loader=open_rgb, is_valid_file=is_picture)

    @staticmethod
    def find_classes(directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Names of the sub-folders in order, and the index of each."""
        names = [name for name in find_classes(str(directory))[0] if not name.startswith(".")]
        return names, {name: index for index, name in enumerate(names)}


def list_folder(root: Path | None, image_size: int) -> dict[str, Pictures]:
    """The pictures under `root`, not opened yet: by part when it holds train/ and val/ (and test/), else as "all".

    Raises:
        TrainingError: `root` is missing, holds no classes, or has a class without images.
    """
    if root is None or not root.is_dir():
        raise TrainingError(f"--data.root: {root} is not a folder; name one with a sub-folder of images per class")
    parts = {part: root / part for part in PARTS if (root / part).is_dir()}
    if not {"train", "val"} <= parts.keys():
        return {"all": _pictures(root, image_size)}
    opened = {part: _pictures(path, image_size) for part, path in parts.items()}
    for part, images in opened.items():
        if images.classes != opened["train"].classes:
            raise TrainingError(f"--data.root: {parts[part]} has other classes than {parts['train']}; make them equal")
    return opened


def open_folder(
    root: Path | None, image_size: int, val_fraction: float, seed: int, on_bad_image: str, *, check: bool = True
) -> Splits:
    """One sub-folder per class, either under `root`/train and `root`/val (and /test), or under `root` alone.

    In the second case a seeded `val_fraction` of each class becomes the validation set. Every file is decoded once
    before training starts, unless `check` is False because the caller does so anyway.

    Raises:
        TrainingError: as list_folder; BadImageError when `on_bad_image` is "stop" and a file cannot be decoded.
    """
    parts = list_folder(root, image_size)
    if check or on_bad_image == "skip":
        for images in parts.values():
            _leave_out_bad(images, on_bad_image)
    if "all" not in parts:
        train, val = parts["train"], parts["val"]
        return Splits(train, val, parts.get("test", val), train.classes)
    images = parts["all"]
    picks = split_by_class(images.targets, val_fraction, seed)
    if not all(picks):
        raise TrainingError(f"--data.root: {root} has too few images to split; give each class at least 2")
    held_out: Images = Subset(images, picks[1])
    return Splits(Subset(images, picks[0]), held_out, held_out, images.classes)


def _pictures(path: Path, image_size: int) -> Pictures:
    try:
        images = Pictures(path, image_size)
    except (FileNotFoundError, ValueError) as error:
        raise TrainingError(
            f"--data.root: {_first_sentence(error, path)}; put images into it or delete the folder"
        ) from error
    aside = Counter(
        Path(name).suffix.lower() or "no extension"
        for label in images.classes
        for _, _, names in os.walk(path / label, followlinks=True)
        for name in names
        if not name.startswith(".") and not is_picture(name)
    )
    if aside:
        kinds = ", ".join(f"{count} {kind}" for kind, count in aside.most_common())
        warnings.warn(f"{path}: left aside, as their names are not those of images: {kinds}", stacklevel=2)
    return images


def _leave_out_bad(images: Pictures, on_bad_image: str) -> None:
    """Decode every file; stop at bad ones, or take them out and warn."""
    faults = _faults([name for name, _ in images.samples])
    if faults and on_bad_image == "stop":
        raise BadImageError(
            next(iter(faults.values())) + (f" ({len(faults) - 1} more like it)" if len(faults) > 1 else "")
        )
    for name in faults:
        warnings.warn(f"{name}: damaged or not an image; left out (--data.on_bad_image skip)", stacklevel=2)
    images.samples = images.imgs = [sample for sample in images.samples if sample[0] not in faults]
    images.targets = [label for _, label in images.samples]
    if empty := sorted(set(range(len(images.classes))) - set(images.targets)):
        raise TrainingError(
            f"--data.root: {Path(images.root) / images.classes[empty[0]]} has no readable image; add some or delete it"
        )


def _faults(names: Sequence[str]) -> dict[str, str]:
    """What is wrong, by name. Pillow decodes outside the interpreter's lock, so threads share the work."""

    def fault(name: str) -> str | None:
        try:
            open_rgb(name)
        except BadImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        found = shown(pool.map(fault, names), len(names), "checking images")
        return {name: reason for name, reason in zip(names, found, strict=True) if reason}


def _first_sentence(error: Exception, path: Path) -> str:
    reason = str(error).splitlines()[0].split(". Supported")[0]
    return f"{path}: {reason.rstrip('.')}"
