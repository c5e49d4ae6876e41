"""What every data source gives: three sets of square images, and the way to hold some of them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import v2

Images = Dataset[tuple[torch.Tensor, int]]


@dataclass(frozen=True)
class Splits:
    """Three sets of (uint8 (3, S, S), class index), not augmented. `test` may be `val` itself."""

    train: Images
    val: Images
    test: Images
    classes: list[str]


def square(image_size: int) -> Callable[[Image.Image], torch.Tensor]:
    """PIL image -> uint8 (3, image_size, image_size): shorter side scaled to `image_size`, centre cut out."""
    return v2.Compose([v2.PILToTensor(), v2.Resize(image_size, antialias=True), v2.CenterCrop(image_size)])


def split_by_class(labels: Sequence[int], val_fraction: float, seed: int) -> tuple[list[int], list[int]]:
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


def draw_samples(
    splits: Splits, seed: int, val_count: int = 128, train_count: int = 64
) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded, not augmented: `val_images` uint8 (n, 3, S, S), `val_labels` int64 (n,); `train_...` likewise."""
    samples = {}
    for split, dataset, count in (("val", splits.val, val_count), ("train", splits.train, train_count)):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(dataset), generator=generator)[:count].tolist()  # type: ignore[arg-type]
        pairs = [dataset[index] for index in order]
        samples[f"{split}_images"] = torch.stack([image for image, _ in pairs]).numpy()
        samples[f"{split}_labels"] = np.array([label for _, label in pairs], dtype=np.int64)
    return samples
