"""Changes to training images: one at a time on the CPU, or a batch at once where the images already are.

Both draw from the same distributions; the batch saves the copy of every image to the GPU at every epoch.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch.nn import functional
from torch.utils.data import Dataset
from torchvision.transforms import v2

from training.order import Draw, derive_seed

Augment = Literal["none", "flip", "crop", "trivial", "rand"]
PER_IMAGE = ("trivial", "rand")  # torchvision draws one operation for all images of a batch, so they go one at a time

AREA_SHARES = (0.35, 1.0)  # of the image, kept by a crop
ASPECT_RATIOS = (3 / 4, 4 / 3)  # width over height of a crop
MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0  # of the Beta distribution of shares; as torchvision's reference recipe
SMOOTH = {"interpolation": v2.InterpolationMode.BILINEAR}
ATTEMPTS = 10  # to find a crop that lies within the image, as RandomResizedCrop makes


class Augmented(Dataset[tuple[torch.Tensor, int]]):
    """A data set seen through a random transform."""

    def __init__(self, dataset: Dataset[Any], transform: v2.Transform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> tuple[torch.Tensor, int]:
        image, label = self.dataset[draw.image]
        with torch.random.fork_rng(devices=[]):  # the transforms of torchvision draw from the global generator
            torch.default_generator.manual_seed(derive_seed(draw.epoch_seed, draw.image))
            return self.transform(image), label


def augmentation(name: Augment, image_size: int) -> v2.Transform:
    """The transform of `--data.augment`, uint8 (3, S, S) -> the same shape."""
    if name == "none":
        return v2.Identity()
    if name == "flip":
        return v2.RandomHorizontalFlip()
    crop = v2.RandomResizedCrop(image_size, scale=AREA_SHARES, ratio=ASPECT_RATIOS, antialias=True)
    steps: list[v2.Transform] = [crop, v2.RandomHorizontalFlip()]
    if name in PER_IMAGE:
        steps.append(v2.TrivialAugmentWide(**SMOOTH) if name == "trivial" else v2.RandAugment(**SMOOTH))
    return v2.Compose(steps)


def batch_mixing(mixup: bool, cutmix: bool, num_classes: int) -> v2.Transform | None:
    """MixUp, CutMix, or one of both at random for each batch: float (N, 3, S, S), labels (N,) -> ..., (N, num_classes).

    None when neither is wanted.
    """
    mixings: list[v2.Transform] = []
    if mixup:
        mixings.append(v2.MixUp(alpha=MIXUP_ALPHA, num_classes=num_classes))
    if cutmix:
        mixings.append(v2.CutMix(alpha=CUTMIX_ALPHA, num_classes=num_classes))
    return v2.RandomChoice(mixings) if len(mixings) > 1 else next(iter(mixings), None)


def augment_batch(name: Augment, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What `augmentation` does to one image, to each of uint8 (N, 3, S, S), on the device of images and generator.

    `name` is none of PER_IMAGE.
    """
    if name == "none":
        return images
    if name == "crop":
        images = resize_crops(images, draw_crops(len(images), images.shape[-1], generator))
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(flipped, images.flip(3), images)


def draw_crops(count: int, side_px: int, generator: torch.Generator) -> torch.Tensor:
    """`count` crops of square images as float (count, 4): top, left, height and width, whole pixels.

    The first of ATTEMPTS draws that lies within the image, else the whole image, as torchvision's RandomResizedCrop.
    """
    draws = torch.rand(4, ATTEMPTS, count, generator=generator, device=generator.device)
    low, high = AREA_SHARES
    area = side_px**2 * (low + (high - low) * draws[0])
    least, most = (math.log(ratio) for ratio in ASPECT_RATIOS)
    ratio = torch.exp(least + (most - least) * draws[1])
    height, width = torch.sqrt(area / ratio).round(), torch.sqrt(area * ratio).round()
    within = (height <= side_px) & (width <= side_px) & (height > 0) & (width > 0)
    top = torch.floor(draws[2] * (side_px - height + 1))
    left = torch.floor(draws[3] * (side_px - width + 1))
    tries = torch.stack([top, left, height, width], dim=-1)
    first = tries[within.int().argmax(0), torch.arange(count, device=generator.device)]
    whole = first.new_tensor([0, 0, side_px, side_px])
    return torch.where(within.any(0)[:, None], first, whole)


def resize_crops(images: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """The `crops` (N, 4) of uint8 (N, 3, S, S), each resized to (3, S, S): bilinear, nothing from outside the crop.

    A crop is never larger than the image, so this enlarges, and an anti-aliasing filter would change nothing.
    """
    side = images.shape[-1]
    centres = torch.arange(side, device=images.device) + 0.5
    top, left, height, width = crops.split(1, dim=1)

    def positions(start: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        inside = torch.minimum((centres * length / side - 0.5).clamp(min=0), length - 1)
        return (2 * (start + inside) + 1) / side - 1  # from pixels to grid_sample's -1 .. 1

    rows = positions(top, height)[:, :, None].expand(-1, side, side)
    columns = positions(left, width)[:, None, :].expand(-1, side, side)
    grid = torch.stack([columns, rows], dim=-1)
    sampled = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return sampled.round().to(torch.uint8)
