"""ImageDataModule: batches of uint8 images, sized to the machine, the same for the same seed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from training.datasets import SOURCES, open_builtin, open_torchvision
from training.errors import TrainingError
from training.folder import open_folder
from training.splits import Splits

SMALLEST_PX = 16


class ImageDataModule(LightningDataModule):
    """Training, validation and test images as uint8 (N, 3, S, S) with class indices.

    Args:
        image_size: Side of the square images, in pixels.
        source: Where images come from: builtin (rendered, needs no file and no network), folder (with --data.root),
            or torchvision:<Name>, e.g. torchvision:CIFAR10 (downloaded once).
        root: For folder: a folder with one sub-folder of images per class, or with train/ and val/ of such. For
            torchvision: where downloads go (null: data/).
        batch_size: Images per training step.
        train_images: Training images of the builtin source.
        val_images: Validation images of the builtin source.
        val_fraction: Share (0 to 1) held out for validation when the data come in one folder.
        seed: Seed of the builtin images and of the split.
        epoch_megapixels: An epoch draws as many training images as fit into this many megapixels at image_size, so
            that every image size trains for about the same time. null: an epoch is every training image once.
        augment: Changes to training images. none; flip (left to right, half of them); crop (a random part of 35% to
            100% of the area, then flip).
        on_bad_image: A file of the folder source that cannot be decoded: stop names it and ends, skip warns and
            leaves it out. Every file is decoded once before training starts.
        workers: Processes that load images. null: one less than the CPU cores, at most 8.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        source: str = "builtin",
        root: Path | None = None,
        batch_size: int = 32,
        train_images: int = 20_000,
        val_images: int = 1_000,
        val_fraction: float = 0.2,
        seed: int = 0,
        epoch_megapixels: float | None = None,
        augment: Literal["none", "flip", "crop"] = "flip",
        on_bad_image: Literal["stop", "skip"] = "stop",
        workers: int | None = None,
    ) -> None:
        super().__init__()
        _require(
            image_size >= SMALLEST_PX, f"--data.image_size: {image_size} px; give at least {SMALLEST_PX}, e.g. 224"
        )
        _require(batch_size >= 1, f"--data.batch_size: {batch_size}; give at least 1 image per step")
        _require(train_images >= 1, f"--data.train_images: {train_images}; give at least 1")
        _require(val_images >= 1, f"--data.val_images: {val_images}; give at least 1")
        _require(0 < val_fraction < 1, f"--data.val_fraction: {val_fraction}; give a share between 0 and 1, e.g. 0.2")
        _require(seed >= 0, f"--data.seed: {seed}; give 0 or more")
        _require(workers is None or workers >= 0, f"--data.workers: {workers}; give 0 or more, or null")
        _require(
            epoch_megapixels is None or epoch_megapixels > 0,
            f"--data.epoch_megapixels: {epoch_megapixels}; give more than 0, or null for every image",
        )
        known = source in ("builtin", "folder") or source.startswith("torchvision:")
        _require(known, f"--data.source: {source!r} is unknown; use {SOURCES}")
        self.image_size, self.source, self.root, self.batch_size = image_size, source, root, batch_size
        self.train_images, self.val_images, self.val_fraction = train_images, val_images, val_fraction
        self.seed, self.epoch_megapixels, self.augment, self.on_bad_image = (
            seed,
            epoch_megapixels,
            augment,
            on_bad_image,
        )
        self.workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if workers is None else workers
        self.splits: Splits | None = None

    def setup(self, stage: str) -> None:
        """Open the source once. Raises TrainingError when it is missing, empty or damaged."""
        if self.splits is None:
            self.splits = self._open()

    def _open(self) -> Splits:
        if self.source == "builtin":
            return open_builtin(self.image_size, self.train_images, self.val_images, self.seed)
        if self.source == "folder":
            return open_folder(self.root, self.image_size, self.val_fraction, self.seed, self.on_bad_image)
        name = self.source.removeprefix("torchvision:")
        return open_torchvision(name, self.root, self.image_size, self.val_fraction, self.seed)

    @property
    def opened(self) -> Splits:
        """The splits, after setup()."""
        if self.splits is None:
            self.setup("fit")
        assert self.splits is not None  # noqa: S101 - for the type checker
        return self.splits

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the class indices."""
        return self.opened.classes

    @property
    def images_per_epoch(self) -> int:
        """Training images drawn in one epoch."""
        images = len(self.opened.train)  # type: ignore[arg-type]
        if self.epoch_megapixels is None:
            return images
        fitting = round(self.epoch_megapixels * 1e6 / self.image_size**2 / self.batch_size) * self.batch_size
        return min(images, max(self.batch_size, fitting))

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented, by the seed of --seed_everything."""
        dataset = Augmented(self.opened.train, augmentation(self.augment, self.image_size))
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        sampler = RandomSampler(dataset, num_samples=self.images_per_epoch, generator=generator)
        ragged = self.images_per_epoch % self.batch_size
        # A last batch of one image has no batch statistics at the deepest, 1 x 1 layers.
        return self._loader(dataset, sampler=sampler, drop_last=ragged == 1 and self.images_per_epoch > 1)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation image once, in order."""
        return self._loader(self.opened.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test image once, in order (the validation images where the source has no test set)."""
        return self._loader(self.opened.test)

    def _loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def draw_samples(self, val_count: int = 128, train_count: int = 64) -> dict[str, np.ndarray[Any, Any]]:
        """Seeded, not augmented: `val_images` uint8 (n, 3, S, S), `val_labels` int64 (n,); `train_...` likewise."""
        samples = {}
        for split, dataset, count in (("val", self.opened.val, val_count), ("train", self.opened.train, train_count)):
            generator = torch.Generator().manual_seed(self.seed)
            order = torch.randperm(len(dataset), generator=generator)[:count].tolist()  # type: ignore[arg-type]
            pairs = [dataset[index] for index in order]
            samples[f"{split}_images"] = torch.stack([image for image, _ in pairs]).numpy()
            samples[f"{split}_labels"] = np.array([label for _, label in pairs], dtype=np.int64)
        return samples

    def time_loading(self, images: int = 16) -> float:
        """Images per second that the workers together can prepare: one process timed, times the workers."""
        dataset = Augmented(self.opened.train, augmentation(self.augment, self.image_size))
        count = min(images, len(dataset))
        dataset[0]  # tables that are computed once
        started = time.perf_counter()
        for index in range(count):
            dataset[index]
        return count / (time.perf_counter() - started) * max(1, self.workers)


class Augmented(Dataset[tuple[torch.Tensor, int]]):
    """A data set seen through a random transform."""

    def __init__(self, dataset: Dataset[Any], transform: v2.Transform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.dataset[index]
        return self.transform(image), label


def augmentation(name: str, image_size: int) -> v2.Transform:
    """The transform of `--data.augment`, uint8 (3, S, S) -> the same shape."""
    if name == "none":
        return v2.Identity()
    if name == "flip":
        return v2.RandomHorizontalFlip()
    return v2.Compose([v2.RandomResizedCrop(image_size, scale=(0.35, 1.0), antialias=True), v2.RandomHorizontalFlip()])


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TrainingError(message)
