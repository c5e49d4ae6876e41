"""What `python -m training.speed` measures: the real Classifier and Trainer, fed from different places."""

from __future__ import annotations

import itertools
import platform
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

import torch
import torchvision
from lightning import Trainer
from lightning import __version__ as lightning_version
from torch.utils.data import Subset

from training.callbacks import Throughput
from training.classifier import Classifier
from training.data import ImageDataModule
from training.meter import Meter, MeteredTraining, waiting_for
from training.speed_options import Settings

Record = dict[str, Any]
NO_END = 10**9  # steps: the learning rate stays in its warm-up, near zero, so a fixed batch trains without diverging
WARMUP_STEPS = 5  # cuDNN's search, the allocator's first blocks


class Source(ImageDataModule):
    """Training batches that are prepared once and serve several trainings."""

    prepare_s = 0.0

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
        first = Subset(self.opened.train, range(self.batch_size))
        resident = ResidentImages(self._loader(first), self.batch_size, self.image_size, self._device)
        return Repeated([resident.images, resident.labels])


class Repeated:
    """The same batch without end."""

    def __init__(self, batch: list[torch.Tensor]) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        return itertools.repeat(self.batch)


def measure(settings: Settings) -> Iterator[Record]:
    """One record for each measurement asked for, as it is done."""
    sources = {name: open_source(name, settings) for name in settings.measurements}
    for mode in settings.modes:
        model = Classifier(
            optimizer=settings.optimizer, channels_last=settings.channels_last, compile=mode == "compile"
        )
        for name in settings.measurements:
            if name != "loader":
                yield describe(settings, name, time_training(model, sources[name], name, settings) | {"mode": mode})
    if "loader" in settings.measurements:
        yield describe(settings, "loader", time_loader(sources["loader"], settings))


def open_source(name: str, settings: Settings) -> Source:
    """Where the batches of the measurement `name` come from."""
    kind = FixedBatch if name == "step" else Source
    return kind(
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        train_images=settings.train_images,
        augment=settings.augment,
        workers=settings.workers,
        resident_on_gpu=name == "loop_resident",
    )


def time_training(model: Classifier, source: Source, name: str, settings: Settings) -> Record:
    """Train with `source` until the windows are full."""
    device = torch.device(settings.device)
    # what the loader prepared while the first step compiled is used up before the first window
    ahead = 2 * source.workers if name == "loop_loader" else 0
    meter = Meter(settings.window_s, settings.windows, WARMUP_STEPS + ahead, waiting_for(device))
    throughput = Throughput()
    trainer = Trainer(
        accelerator=settings.device,
        devices=1,
        precision=cast(Any, settings.precision),
        max_epochs=-1,
        max_steps=NO_END,
        limit_val_batches=0,
        benchmark=True if settings.device == "cuda" else None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[throughput, MeteredTraining(meter)],
    )
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.fit(model, datamodule=source)
    record = rates(meter) | {
        "first_step_s": round(meter.first_step_s, 3),
        "wait_share": round(throughput.wait_share, 4),
        "optimizer_fused": bool(trainer.optimizers[0].defaults.get("fused")),
        "prepare_s": round(source.prepare_s, 3),
    }
    if settings.device == "cuda":
        record["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return record


def time_loader(source: Source, settings: Settings) -> Record:
    """The loader with nothing behind it, epoch after epoch."""
    meter = Meter(settings.window_s, settings.windows, 1 + 2 * source.workers)
    meter.start()
    for _, labels in itertools.chain.from_iterable(itertools.repeat(source.train_dataloader())):
        if meter.count(len(labels)):
            break
    return rates(meter) | {"workers": source.workers}


def rates(meter: Meter) -> Record:
    """The median and what it is the median of."""
    windows = [round(rate, 1) for rate in meter.rates]
    return {"images_per_s": statistics.median(windows), "windows_images_per_s": windows, "window_s": meter.window_s}


def describe(settings: Settings, name: str, measured: Record) -> Record:
    """`measured` with all that is needed to read it a year later."""
    on_gpu = settings.device == "cuda"
    return {
        "measured": name,
        **measured,
        "image_size": settings.image_size,
        "batch_size": settings.batch_size,
        "train_images": settings.train_images,
        "augment": settings.augment,
        "precision": settings.precision,
        "optimizer": settings.optimizer,
        "memory_format": "channels_last" if settings.channels_last else "contiguous",
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "lightning": lightning_version,
        }
        | ({"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()} if on_gpu else {}),
    }
