"""What `python -m training.speed` measures: the real Classifier and Trainer, fed from different places."""

from __future__ import annotations

import itertools
import os
import platform
import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psutil
import torch
import torchvision
from lightning import LightningModule, Trainer
from lightning import __version__ as lightning_version

from training.callbacks import Throughput
from training.classifier import Classifier
from training.meter import Meter, MeteredTraining, waiting_for
from training.prefetch import AHEAD, gather_into
from training.resident import DecodedImages, room_for
from training.speed_options import Settings
from training.speed_sources import Source, open_sources

Record = dict[str, Any]
NO_END = 10**9  # steps: the learning rate stays in its warm-up, near zero, so a fixed batch trains without diverging
WARMUP_STEPS = 5  # cuDNN's search, the allocator's first blocks


class AlternatingTraining(MeteredTraining):
    """After each window of Lightning's steps, one of the same steps without Lightning: drift touches both alike."""

    def __init__(self, meter: Meter, settings: Settings) -> None:
        super().__init__(meter)
        self.settings = settings
        self.bare_rates: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step more, and, when that was the last of a window, one of the bare loop."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if len(self.meter.rates) > len(self.bare_rates):
            model, optimizer = cast(Classifier, pl_module), trainer.optimizers[0]
            self.bare_rates.append(time_bare_loop(model, optimizer, batch, self.settings))
            self.meter.start()


def time_bare_loop(
    model: Classifier, optimizer: torch.optim.Optimizer, batch: list[torch.Tensor], settings: Settings
) -> float:
    """Images per second of one window of plain PyTorch steps: forward, loss, backward, optimiser, nothing else."""
    images, labels = batch
    step = model.compiled_step or model._answer
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(settings.precision)
    scaler = torch.amp.GradScaler(settings.device, enabled=settings.precision == "16-mixed")
    meter = Meter(settings.window_s, 1, 1, waiting_for(torch.device(settings.device)))
    meter.start()
    while True:
        with torch.autocast(settings.device, half) if half else nullcontext():
            _, loss = step(images, labels, model.label_smoothing)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if meter.count(len(labels)):
            return meter.rates[0]


def measure(settings: Settings, folder: Path) -> Iterator[Record]:
    """One record for each measurement asked for, as it is done; `folder` for files that are needed on the way."""
    sources = open_sources(settings, folder)
    for mode in settings.modes:
        model = Classifier(
            optimizer=settings.optimizer, channels_last=settings.channels_last, compile=mode == "compile"
        )
        if "step" in settings.measurements:
            yield from time_step(model, sources["step"], mode, settings)
        for cache in settings.caches if "together" in settings.measurements else ():
            source = sources[cache]
            # what the loader prepared while the first step compiled is used up before the first window
            ahead = 2 * source.workers if cache == "none" else AHEAD
            meter = Meter(
                settings.window_s, settings.windows, WARMUP_STEPS + ahead, waiting_for(torch.device(settings.device))
            )
            timed = train(model, source, MeteredTraining(meter), settings)
            measured = rates(meter.rates, settings) | timed | {"prepare_s": round(source.prepare_s, 3)}
            yield describe(settings, "together", measured, mode=mode, cache=cache)
    if "gather" in settings.measurements and "memory" in settings.caches:
        yield describe(settings, "gather", time_gather(sources["memory"], settings), cache="memory")
    for cache in settings.caches if "loader" in settings.measurements else ():
        yield describe(settings, "loader", time_loader(sources[cache], cache, settings), cache=cache)


def time_step(model: Classifier, source: Source, mode: str, settings: Settings) -> Iterator[Record]:
    """The step under Lightning, and without it when that is asked for too."""
    meter = Meter(settings.window_s, settings.windows, WARMUP_STEPS, waiting_for(torch.device(settings.device)))
    bare = "bare" in settings.measurements
    callback = AlternatingTraining(meter, settings) if bare else MeteredTraining(meter)
    timed = train(model, source, callback, settings)
    yield describe(settings, "step", rates(meter.rates, settings) | timed, mode=mode)
    if isinstance(callback, AlternatingTraining):
        yield describe(settings, "bare", rates(callback.bare_rates, settings), mode=mode)


def train(model: Classifier, source: Source, callback: MeteredTraining, settings: Settings) -> Record:
    """Train with `source` until `callback` ends it."""
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
        callbacks=[throughput, callback],
    )
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.fit(model, datamodule=source)
    record = {
        "first_step_s": round(callback.meter.first_step_s, 3),
        "optimizer_fused": bool(trainer.optimizers[0].defaults.get("fused")),
    }
    if not isinstance(callback, AlternatingTraining):  # there the bare loop runs between the steps
        record["wait_share"] = round(throughput.wait_share, 4)
    if settings.device == "cuda":
        record["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return record


def time_loader(source: Source, cache: str, settings: Settings) -> Record:
    """The loader with nothing behind it, epoch after epoch; batches that are made on the device are waited for."""
    ahead = 2 * source.workers if cache == "none" else AHEAD
    meter = Meter(settings.window_s, settings.windows, 1 + ahead, waiting_for(torch.device(settings.device)))
    meter.start()
    for _, labels in itertools.chain.from_iterable(itertools.repeat(source.train_dataloader())):
        if meter.count(len(labels)):
            break
    return rates(meter.rates, settings) | {"workers": source.workers if cache == "none" else 0}


def time_gather(source: Source, settings: Settings) -> Record:
    """One thread, random batches, no copy to a device: what the memory itself gives."""
    decoded = cast(DecodedImages, source.opened.train)
    room = room_for(settings.batch_size, settings.image_size, torch.device("cpu"))
    meter = Meter(settings.window_s, settings.windows, WARMUP_STEPS)
    meter.start()
    while True:
        gather_into(decoded, torch.randint(len(decoded), (settings.batch_size,)).tolist(), room.images, room.labels)
        if meter.count(settings.batch_size):
            return rates(meter.rates, settings)


def rates(windows_images_per_s: list[float], settings: Settings) -> Record:
    """The median and what it is the median of."""
    windows = [float(f"{rate:.5g}") for rate in windows_images_per_s]
    return {"images_per_s": statistics.median(windows), "windows_images_per_s": windows, "window_s": settings.window_s}


def describe(settings: Settings, name: str, measured: Record, **more: str) -> Record:
    """`measured` with all that is needed to read it a year later."""
    on_gpu = settings.device == "cuda"
    processor = cpu_name()
    return {
        "measured": name,
        **more,
        **measured,
        "source": settings.source,
        "image_size": settings.image_size,
        "batch_size": settings.batch_size,
        "train_images": settings.train_images,
        "augment": settings.augment,
        "precision": settings.precision,
        "optimizer": settings.optimizer,
        "memory_format": "channels_last" if settings.channels_last else "contiguous",
        "device": torch.cuda.get_device_name() if on_gpu else processor,
        "machine": {
            "cpu": processor,
            "cores": os.cpu_count(),
            "memory_mb": round(psutil.virtual_memory().total / 1e6),
            "system": f"{platform.system()} {platform.release()}",
        },
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "lightning": lightning_version,
        }
        | ({"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()} if on_gpu else {}),
    }


def cpu_name() -> str:
    """As the system names it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "cpu")
