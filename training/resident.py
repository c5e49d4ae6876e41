"""Decoded images, and batches of them on the device that trains: gathered, augmented and put together there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from training.augment import Augment, augment_batch
from training.errors import TrainingError
from training.pictures import BadImageError
from training.progress import shown

AUTO_SHARE = 0.25  # of the free GPU memory: activations at a large batch need the rest


class DecodedImages(Dataset[tuple[torch.Tensor, int]]):
    """A data set as two tensors, `images` uint8 (N, 3, S, S) and `labels` int64 (N,): on a device, or mapped."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])

    def to(self, device: torch.device) -> DecodedImages:
        """A copy on `device`."""
        return DecodedImages(self.images.to(device), self.labels.to(device))


def room_for(count: int, image_size: int, device: torch.device) -> DecodedImages:
    """Memory for `count` images on `device`, not filled."""
    shape = (count, 3, image_size, image_size)
    return DecodedImages(
        torch.empty(shape, dtype=torch.uint8, device=device), torch.empty(count, dtype=torch.int64, device=device)
    )


def decode(loader: DataLoader[Any], into: DecodedImages) -> DecodedImages:
    """`into`, filled with what `loader` gives. Raises BadImageError when a file cannot be decoded, in one line."""
    start = 0
    try:
        for images, labels in shown(loader, len(into), "decoding images", size=lambda batch: len(batch[1])):
            stop = start + len(labels)
            into.images[start:stop].copy_(torch.as_tensor(images), non_blocking=True)
            into.labels[start:stop].copy_(torch.as_tensor(labels), non_blocking=True)
            start = stop
    except BadImageError as error:  # from a worker it comes with that process's traceback before it
        line = str(error).strip().splitlines()[-1]
        raise BadImageError(line.removeprefix(f"{BadImageError.__module__}.{BadImageError.__name__}: ")) from error
    return into


class ResidentBatches:
    """Batches (uint8 (n, 3, S, S), int64 (n,)) as `batches` picks them, on the device that holds `resident`.

    Args:
        resident: Where the images are.
        batches: Indices of one epoch; asked again for each. (Lightning takes what has a `sampler` for a DataLoader.)
        augment: As in --data.augment.
        seed: Of the augmentation; asked at the start of every epoch.
    """

    def __init__(
        self,
        resident: DecodedImages,
        batches: Sampler[list[int]],
        *,
        augment: Augment = "none",
        seed: Callable[[], int] = lambda: 0,
    ) -> None:
        self.dataset = resident  # under the name that Lightning's batch-size finder asks for its length
        self.batches, self.augment, self.seed = batches, augment, seed
        self.generator = torch.Generator(resident.images.device)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        picks = list(self.batches)
        self.generator.manual_seed(self.seed())
        order = torch.tensor([index for pick in picks for index in pick]).to(self.dataset.images.device)
        for picked in order.split([len(pick) for pick in picks]):
            images = augment_batch(self.augment, self.dataset.images[picked], self.generator)
            yield [images, self.dataset.labels[picked]]


def keep(images: int, image_size: int, device: torch.device, wanted: bool | None) -> bool:
    """Whether `images` (a count, all splits together) are to be kept on `device`.

    `wanted` is --data.resident_on_gpu; None keeps them on a CUDA device of which they take AUTO_SHARE of the free
    memory or less.

    Raises:
        TrainingError: they are wanted on a CUDA device, and its free memory is too small.
    """
    if wanted is False or (wanted is None and device.type != "cuda"):
        return False
    if device.type != "cuda":
        return True
    needed, free = images * 3 * image_size**2, torch.cuda.mem_get_info(device)[0]
    if wanted and needed > free:
        raise TrainingError(
            f"--data.resident_on_gpu: {images} images of {image_size} px take {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free on the GPU; give false, or fewer images"
        )
    return bool(wanted) or needed <= AUTO_SHARE * free
