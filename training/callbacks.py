"""What happens around training: best weights to disk, curves, throughput, one line at the end."""

from __future__ import annotations

import itertools
import time
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

Stamp = float | torch.cuda.Event


class Throughput(Callback):
    """Images per second of the training step, of all processes, and the share of time spent waiting for data.

    On a GPU the device's own clock is read: the host is steps ahead of it, and making it wait would slow training.

    Attributes:
        loader_images_per_s: Of the loader alone, set by training.limiter after the first epoch.
    """

    def __init__(self) -> None:
        self.step_s, self.wait_s, self.images = 0.0, 0.0, 0
        self.loader_images_per_s = 0.0
        self._started: Stamp = 0.0
        self._steps: list[tuple[Stamp, Stamp, int]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first batch of an epoch waits for the workers to start: not counted."""
        self._steps = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here: what passed since the last step was waiting."""
        self._started = stamp(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done."""
        self._steps.append((self._started, stamp(pl_module.device), len(batch[1]) * trainer.world_size))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch up."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        epoch_s = sum(seconds_between(start, end) for start, end, _ in self._steps)
        epoch_images = sum(images for _, _, images in self._steps)
        self.step_s += epoch_s
        self.images += epoch_images
        self.wait_s += waiting_s(self._steps)
        pl_module.log("train/images_per_s", epoch_images / epoch_s if epoch_s else 0.0)

    @property
    def images_per_s(self) -> float:
        """Of the step alone, without waiting for data."""
        return self.images / self.step_s if self.step_s else 0.0

    def epoch_rates(self) -> tuple[float, float]:
        """Images per second of the step, and of step and waiting, in the epoch just ended, but for its first step.

        That one compiles, and searches for the best convolutions.
        """
        steps = self._steps[1:] or self._steps
        step_s = sum(seconds_between(start, end) for start, end, _ in steps)
        images = sum(images for _, _, images in steps)
        waits_s = waiting_s(steps) * len(steps) / max(1, len(steps) - 1)  # as many waits as steps
        return images / step_s, images / (step_s + waits_s)

    @property
    def wait_share(self) -> float:
        """Share (0..1) of training time spent waiting for the next batch."""
        return self.wait_s / (self.wait_s + self.step_s) if self.step_s else 0.0


def waiting_s(steps: list[tuple[Stamp, Stamp, int]]) -> float:
    """Seconds between the end of each step and the beginning of the next."""
    return sum(seconds_between(last[1], step[0]) for last, step in itertools.pairwise(steps))


def stamp(device: torch.device) -> Stamp:
    """Now, for work on `device`: of the host's clock, or an event on the GPU's current stream."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(earlier: Stamp, later: Stamp) -> float:
    """Between two stamps of one device; events must have passed (torch.cuda.synchronize)."""
    if isinstance(earlier, float) or isinstance(later, float):
        return cast(float, later) - cast(float, earlier)
    return float(earlier.elapsed_time(later)) / 1000


class SampleGrid(Callback):
    """One grid of training images in TensorBoard, before mixup and cutmix."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Only the very first batch."""
        writer = getattr(trainer.logger, "experiment", None)
        if trainer.global_step == 0 and isinstance(writer, SummaryWriter):
            writer.add_image("train/images", make_grid(batch[0][:16].cpu(), nrow=4), 0)


class PlainProgress(Callback):
    """One line per epoch, for output that is not a terminal."""

    def __init__(self) -> None:
        self._started_at = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start of the clock for the time left."""
        self._started_at = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where training stands."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        passed_s = time.perf_counter() - self._started_at
        share = max(1, trainer.global_step) / max(1, trainer.estimated_stepping_batches)
        shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
        print(
            f"epoch {trainer.current_epoch + 1}: step {trainer.global_step} of {trainer.estimated_stepping_batches}, "
            f"validation accuracy {shown.get('val/accuracy', 0):.3f}, loss {shown.get('val/loss', 0):.3f}, "
            f"{passed_s:.0f} s passed, {passed_s * max(0, 1 / share - 1):.0f} s left",
            flush=True,
        )


class EarlyEnd(EarlyStopping):
    """Ends training when validation accuracy has not risen for `patience` validations, and says so."""

    def __init__(self, patience: int) -> None:
        super().__init__(monitor="val/accuracy", mode="max", patience=patience)
        self.asked = patience

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume, with the patience that is asked for now."""
        super().load_state_dict({**state_dict, "patience": self.asked})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A resumed run that had ended early has nothing left to do."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell it from a run that went to its end."""
        if self.stopped_epoch and trainer.is_global_zero:
            print(
                f"ended after epoch {self.stopped_epoch + 1} of {trainer.max_epochs}: validation accuracy has not "
                f"risen for {self.wait_count} validations (--early_stopping_patience)",
                flush=True,
            )
