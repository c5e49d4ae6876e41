"""Which part of the input pipeline limits training, and what to change: printed after the first epoch."""

from __future__ import annotations

import copy
import os
import time
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from training.augment import Augmented, augmentation
from training.cache import RAM_SHARE, available_ram
from training.callbacks import Throughput
from training.data import BatchSource, ImageDataModule
from training.meter import waiting_for
from training.order import Draw
from training.speed_table import name_limiter

TIMED_IMAGES, TIMED_BATCHES = 16, 16


@dataclass(frozen=True)
class Rates:
    """Images per second of the loader alone, of the step alone, and of both at once."""

    loader: float
    step: float
    together: float

    @property
    def limiter(self) -> Literal["loader", "step"]:
        """See speed_table.name_limiter."""
        return name_limiter(self.together / self.step)


class PipelineReport(Callback):
    """One line after the first epoch, and the loader's rate for the line at the end."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first epoch of this process; a resumed training has its own."""
        if self.throughput.loader_images_per_s or not trainer.is_global_zero:
            return
        data = cast(Any, trainer).datamodule
        loader = loading_rate(cast(Any, trainer).train_dataloader, data) * trainer.world_size
        self.throughput.loader_images_per_s = loader
        rates = Rates(loader, *self.throughput.epoch_rates())
        compiled = getattr(pl_module, "compiled_step", None) is not None
        pl_module.print(
            f"input pipeline: loader alone {rates.loader:,.0f} img/s, step alone {rates.step:,.1f} img/s, together "
            f"{rates.together:,.1f} img/s; the {rates.limiter} limits: "
            f"{advice(rates.limiter, data, pl_module.device.type == 'cuda', compiled)}"
        )


def loading_rate(source: BatchSource, data: ImageDataModule) -> float:
    """Images per second of `source` with nothing behind it; the order of training is not disturbed.

    Of a DataLoader: one process is timed on a few images, and counted as often as there are workers.
    """
    if isinstance(source, DataLoader):
        dataset = Augmented(data.opened.train, augmentation(data.augment, data.image_size))
        count = min(TIMED_IMAGES, len(dataset))
        dataset[Draw(0, 0)]  # tables that are computed once
        started = time.perf_counter()
        for index in range(count):
            dataset[Draw(index, 0)]
        return count / (time.perf_counter() - started) * max(1, data.workers)
    timed, device = copy.copy(source), source.generator.device
    everything, count = len(cast(Any, data.opened.train)), data.batch_size
    own = torch.Generator().manual_seed(0)
    picks = torch.randint(everything, (TIMED_BATCHES, count), generator=own)
    timed.batches = cast(Any, picks.tolist())
    timed.generator = torch.Generator(device).manual_seed(0)
    wait = waiting_for(device)
    wait()
    started = time.perf_counter()
    for _ in timed:
        pass
    wait()
    return TIMED_BATCHES * count / (time.perf_counter() - started)


def advice(limiter: str, data: ImageDataModule, on_gpu: bool, compiled: bool) -> str:
    """What to change, in the words of the command line."""
    if limiter == "step":
        faster = "--model.compile true may make it faster" if on_gpu and not compiled else "the loader keeps up"
        return faster if on_gpu else f"{faster}; a smaller --data.image_size or a GPU would be faster"
    if data.resident:
        return "the images are on the device already; a larger --data.batch_size gives the host less to do"
    gigabytes = sum(len(cast(Any, split)) for split in (data.opened.train, data.opened.val)) * 3e-9 * data.image_size**2
    in_ram = gigabytes * 1e9 <= RAM_SHARE * available_ram()
    if data.cache != "none" and on_gpu:
        return f"--data.cache disk --data.resident_on_gpu true keeps all {gigabytes:.1f} GB on the GPU, if they fit"
    if data.cache == "disk" and in_ram:
        return f"--data.cache memory reads nothing from the disk while training ({gigabytes:.1f} GB of RAM)"
    if data.cache != "none":
        return "the images are decoded already; other programs may be using the cores, or augmentation takes long"
    cores = os.cpu_count() or 1
    workers = f"--data.workers {cores} uses every core, " if 0 < data.workers < cores - 1 else ""
    kind = "memory" if in_ram else "disk"
    return f"{workers}--data.cache {kind} decodes every image once ({gigabytes:.1f} GB)"
