"""Small data sets for the tests of caches, in the current folder."""

import numpy as np
import torch
from PIL import Image

from training.cache import CACHE_DIR
from training.data import ImageDataModule

SIZE = 16


def open_data(**options):
    defaults = {"image_size": SIZE, "train_images": 22, "val_images": 4, "batch_size": 8, "workers": 0}
    return ImageDataModule(**(defaults | {"augment": "none"} | options))


def two_epochs(**options):
    torch.manual_seed(7)
    data = open_data(**options)
    batches, read = data.train_dataloader(), []
    for data.epoch in range(2):
        read += list(batches)
    return read


def pictures(root, count=4):
    for name in ("cat", "dog"):
        for index in range(count):
            path = root / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return root


def caches():
    return sorted(path.name for path in CACHE_DIR.iterdir() if not path.name.endswith(".lock"))
