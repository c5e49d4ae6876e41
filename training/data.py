"""ImageDataModule: batches of uint8 images, sized to the machine, the same for the same seed."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import LightningDataModule
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from training.augment import PER_IMAGE, Augment, Augmented, augmentation
from training.cache import CACHE_DIR, Cache, check_placement, hold_in_memory, open_on_disk
from training.cache_key import identify
from training.datasets import SOURCES, open_builtin, open_torchvision
from training.errors import require
from training.folder import open_folder
from training.order import Draws, EpochOrder, derive_seed
from training.prefetch import PrefetchedBatches
from training.ranks import RankBatches, RankIndices
from training.resident import DecodedImages, ResidentBatches, decode, keep, room_for
from training.splits import Images, Splits
from training.workers import make_decoder, make_loader

SMALLEST_PX, LARGEST_PX = 16, 16_384  # of larger ones, a few would fill any memory
DECODE_BATCH = 32  # images that a worker decodes at a time for a set that is decoded once
BatchSource = DataLoader[Any] | ResidentBatches | PrefetchedBatches


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
            100% of the area, then flip); trivial or rand (crop, flip, then TrivialAugmentWide or RandAugment).
        on_bad_image: A file of the folder source that cannot be decoded: stop names it and ends, skip warns and
            leaves it out. Every file is decoded once before training starts.
        workers: Processes that load images. null: one less than the CPU cores, at most 16.
        resident_on_gpu: Decode every image once, keep them on the device that trains, and augment them there. null:
            on a GPU of whose free memory they take a quarter or less, when training sees each at least twice, unless
            --data.cache is memory; not with trivial and rand, which change images one by one.
        cache: Decode and resize every image once. memory: at every start, into RAM. disk: into a folder under
            data/cache that later runs on the same images share. none: at every epoch. docs/training.md says when
            which pays.
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
        augment: Augment = "flip",
        on_bad_image: Literal["stop", "skip"] = "stop",
        workers: int | None = None,
        resident_on_gpu: bool | None = None,
        cache: Cache = "none",
    ) -> None:
        super().__init__()
        require(image_size >= SMALLEST_PX, f"--data.image_size: {image_size} px; give at least {SMALLEST_PX}, e.g. 224")
        require(image_size <= LARGEST_PX, f"--data.image_size: {image_size} px; give at most {LARGEST_PX}, e.g. 224")
        for flag, images in (("batch_size", batch_size), ("train_images", train_images), ("val_images", val_images)):
            require(images >= 1, f"--data.{flag}: {images}; give at least 1 image")
        require(0 < val_fraction < 1, f"--data.val_fraction: {val_fraction}; give a share between 0 and 1, e.g. 0.2")
        require(seed >= 0, f"--data.seed: {seed}; give 0 or more")
        require(workers is None or workers >= 0, f"--data.workers: {workers}; give 0 or more, or null")
        require(
            epoch_megapixels is None or epoch_megapixels > 0,
            f"--data.epoch_megapixels: {epoch_megapixels}; give more than 0, or null for every image",
        )
        check_placement(cache, resident_on_gpu, augment)
        known = source in ("builtin", "folder") or source.startswith("torchvision:")
        require(known, f"--data.source: {source!r} is unknown; use {SOURCES}")
        self.image_size, self.source, self.root, self.batch_size = image_size, source, root, batch_size
        self.train_images, self.val_images, self.val_fraction = train_images, val_images, val_fraction
        self.seed, self.epoch_megapixels, self.augment = seed, epoch_megapixels, augment
        self.on_bad_image, self.resident_on_gpu, self.cache = on_bad_image, resident_on_gpu, cache
        self.workers = min(16, max(1, (os.cpu_count() or 2) - 1)) if workers is None else workers
        self.splits: Splits | None = None
        self.cache_dir = CACHE_DIR
        self.run_seed, self.epoch = torch.initial_seed() % 2**63, 0  # of --seed_everything

    def state_dict(self) -> dict[str, Any]:
        """Kept in the run's checkpoints, for `--ckpt_path`: a resumed run draws what it would have drawn."""
        return {"run_seed": self.run_seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.run_seed = state_dict["run_seed"]

    def epoch_seed(self) -> int:
        """Of all that is random in the current `epoch` (counted from 0)."""
        return derive_seed(self.run_seed, self.epoch)

    def setup(self, stage: str) -> None:
        """Open the source once. Raises TrainingError when it is missing, empty or damaged."""
        if self.splits is None:
            self.splits = self._open()
        if stage == "fit" and self.cache == "memory" and not isinstance(self.splits.train, DecodedImages):
            ranks_here = self.trainer.num_devices if self.trainer is not None else 1
            self.splits = hold_in_memory(self.splits, self.image_size, self._decode_into, ranks_here)

    def _open(self) -> Splits:
        if self.cache != "disk":
            return self._open_source()
        sizes = {name: getattr(self, name) for name in ("train_images", "val_images", "val_fraction", "seed")}
        identity = identify(self.source, self.root, self.image_size, on_bad_image=self.on_bad_image, **sizes)
        return open_on_disk(identity, self._open_source, self._decode_into, self.cache_dir, self.say)

    def say(self, line: str) -> None:
        """To the user, once over all processes."""
        print(line, flush=True) if self.rank == 0 else None

    def _open_source(self) -> Splits:
        if self.source == "builtin":
            return open_builtin(self.image_size, self.train_images, self.val_images, self.seed)
        if self.source == "folder":
            check = self.cache == "none"  # what fills a cache decodes, and so checks, every file
            return open_folder(self.root, self.image_size, self.val_fraction, self.seed, self.on_bad_image, check=check)
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

    def train_dataloader(self) -> BatchSource:
        """Shuffled, augmented, by the seed of --seed_everything and the epoch; in one order wherever the images are.

        Each of several processes gets its share of these batches.
        """
        images = cast(Any, self.opened.train)
        if self.trainer is not None:  # loader processes begin with the first epoch after a resume before it starts
            self.epoch = self.trainer.fit_loop.epoch_progress.current.ready
        sampler = EpochOrder(images, self.images_per_epoch, self.epoch_seed)
        # A last batch of one image has no batch statistics at the deepest, 1 x 1 layers.
        drop_last = self.images_per_epoch % self.batch_size == 1 and self.images_per_epoch > 1
        batches = RankBatches(BatchSampler(sampler, self.batch_size, drop_last), self.rank, self.ranks)
        return self._batches(images, batches, augment=self.augment)

    def val_dataloader(self) -> BatchSource:
        """Every validation image once, in order."""
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        return self._batches(self.opened.val, self._in_order(self.opened.val), resident=fitting and self.resident)

    def _batches(
        self,
        split: Images,
        batches: Sampler[list[int]],
        *,
        augment: Augment = "none",
        resident: bool | None = None,
    ) -> BatchSource:
        """The `batches` of `split`, from where its images are."""
        if self.resident if resident is None else resident:
            return ResidentBatches(self._on_device(split), batches, augment=augment, seed=self._batch_seed)
        if isinstance(split, DecodedImages) and augment not in PER_IMAGE:
            return PrefetchedBatches(split, batches, self._device, augment=augment, seed=self._batch_seed)
        if augment == "none":
            return self._loader(split, batch_sampler=batches)
        dataset = Augmented(split, augmentation(augment, self.image_size))
        return self._loader(dataset, batch_sampler=Draws(batches, self.epoch_seed))

    def _batch_seed(self) -> int:
        """Of the changes that this process makes to whole batches in the current epoch."""
        return derive_seed(self.epoch_seed(), self.rank)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test image once, in order (the validation images where the source has no test set)."""
        return self._loader(self.opened.test, batch_sampler=self._in_order(self.opened.test))

    def _in_order(self, split: Dataset[Any]) -> BatchSampler:
        """Every image once over all processes."""
        return BatchSampler(RankIndices(cast(Any, split), self.rank, self.ranks), self.batch_size, drop_last=False)

    @property
    def rank(self) -> int:
        """Number of this process among those that train together."""
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def ranks(self) -> int:
        """How many processes train together."""
        return self.trainer.world_size if self.trainer is not None else 1

    @cached_property
    def resident(self) -> bool:
        """Whether training and validation images stay on the training device. Raises TrainingError as keep() does."""
        train, val = (len(cast(Any, split)) for split in (self.opened.train, self.opened.val))
        epochs = self.trainer.max_epochs if self.trainer is not None else None
        once = epochs not in (None, -1) and epochs * self.images_per_epoch < 2 * train
        elsewhere = once or self.augment in PER_IMAGE or self.cache == "memory"
        wanted = False if elsewhere and self.resident_on_gpu is None else self.resident_on_gpu
        return keep(train + val, self.image_size, self._device, wanted)

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def _on_device(self, split: Images) -> DecodedImages:
        if isinstance(split, DecodedImages):
            return split.to(self._device)
        return self._decode_into(split, room_for(len(cast(Any, split)), self.image_size, self._device))

    def _decode_into(self, split: Images, room: DecodedImages) -> DecodedImages:
        return decode(make_decoder(split, self.workers, self.image_size, min(self.batch_size, DECODE_BATCH)), room)

    def _loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return make_loader(dataset, self.workers, self.image_size, **{"batch_size": self.batch_size} | options)
