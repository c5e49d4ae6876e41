"""Where `python -m training.speed` takes its batches from; images that several measurements share are decoded once."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Subset

from training.builtin import render_scene
from training.data import ImageDataModule
from training.resident import DecodedImages
from training.speed_options import Settings
from training.splits import Splits

PHOTO_PX = (500, 375)  # of the JPEG files; about the mean of ImageNet
DIFFERENT_PHOTOS = 64  # the others are links to these: a file takes as long to decode under any name


class Source(ImageDataModule):
    """Training batches that are prepared once and serve several trainings."""

    prepare_s = 0.0

    def say(self, line: str) -> None:
        """Its cache is of no use to anybody later."""

    @cached_property
    def batches(self) -> Any:
        """The data module's own training batches."""
        started = time.perf_counter()
        batches = super().train_dataloader()
        self.prepare_s = time.perf_counter() - started
        return batches

    def train_dataloader(self) -> Any:
        """The same at every call."""
        return self.batches


class FixedBatch(Source):
    """One batch, on the training device, again and again: the step alone."""

    @cached_property
    def batches(self) -> Any:
        """Endless."""
        first = self._on_device(Subset(self.opened.train, range(self.batch_size)))
        return Repeated([first.images, first.labels])


class Repeated:
    """The same batch without end."""

    def __init__(self, batch: list[torch.Tensor]) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        return itertools.repeat(self.batch)


def open_sources(settings: Settings, folder: Path) -> dict[str, Source]:
    """By name: "step" (one batch), and one for each of `settings.caches`.

    Args:
        settings: What is measured.
        folder: For files that are written on the way, by and for this call.
    """
    source, root = settings.source, settings.root
    if source == "jpeg":
        source, root = "folder", folder / "photos"
        if not root.is_dir():
            write_photos(root, settings.train_images)
    common: dict[str, Any] = {
        "source": source,
        "root": root,
        "image_size": settings.image_size,
        "batch_size": settings.batch_size,
        "train_images": settings.train_images,
        "val_images": 1,
        "augment": settings.augment,
        "workers": settings.workers,
    }
    opened: dict[str, Source] = {"step": FixedBatch(**common, resident_on_gpu=False)}
    shared: Splits | None = None
    for name in sorted(settings.caches, key=["none", "disk", "memory", "gpu"].index):
        made = Source(**common, resident_on_gpu=name == "gpu", cache=name if name in ("memory", "disk") else "none")
        made.cache_dir = folder / "cache"
        if name == "memory" and shared is not None:
            train = shared.train
            assert isinstance(train, DecodedImages)  # noqa: S101 - for the type checker
            made.splits = Splits(
                DecodedImages(train.images.clone(), train.labels), shared.val, shared.val, made.classes
            )
        elif name == "gpu" and shared is not None:
            made.splits = shared
        made.setup("fit")
        if name in ("disk", "memory"):
            shared = shared or made.splits
        opened[name] = made
    first = opened[settings.caches[0]] if settings.caches else None
    opened["step"].splits = first.splits if first else None
    return opened


def write_photos(root: Path, count: int) -> None:
    """`count` JPEG files for training and a few for validation, in two classes of equal size."""
    width, height = PHOTO_PX
    for index in range(count):
        path = root / "train" / str(index % 2) / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index < DIFFERENT_PHOTOS:
            canvas = render_scene(0, "train", index)[:, :height, :width]
            Image.fromarray(canvas.astype(np.uint8).transpose(1, 2, 0)).save(path, quality=90)
        else:
            original = index % DIFFERENT_PHOTOS
            os.link(root / "train" / str(original % 2) / f"{original}.jpg", path)
    for label in range(2):
        path = root / "val" / str(label) / "0.jpg"
        path.parent.mkdir(parents=True)
        os.link(root / "train" / str(label) / f"{label}.jpg", path)
