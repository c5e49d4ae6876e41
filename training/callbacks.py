"""What happens around training: best weights to disk, curves, throughput, one line at the end."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid


class Throughput(Callback):
    """Images per second of the training step, and the share of time spent waiting for data."""

    def __init__(self) -> None:
        self.step_s, self.wait_s, self.images = 0.0, 0.0, 0
        self._ready_at: float | None = None
        self._started_at = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first batch of an epoch waits for the workers to start: not counted."""
        self._ready_at = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here: what passed since the last step was waiting."""
        self._started_at = time.perf_counter()
        if self._ready_at is not None:
            self.wait_s += self._started_at - self._ready_at

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done."""
        self._ready_at = time.perf_counter()
        self.step_s += self._ready_at - self._started_at
        self.images += len(batch[1])
        rate = len(batch[1]) / (self._ready_at - self._started_at)
        pl_module.log("train/images_per_s", rate, on_step=False, on_epoch=True)

    @property
    def images_per_s(self) -> float:
        """Of the step alone, without waiting for data."""
        return self.images / self.step_s if self.step_s else 0.0

    @property
    def wait_share(self) -> float:
        """Share (0..1) of training time spent waiting for the next batch."""
        return self.wait_s / (self.wait_s + self.step_s) if self.step_s else 0.0


class SampleGrid(Callback):
    """One grid of training images in TensorBoard, as the network sees them."""

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
        if trainer.sanity_checking or trainer.state.fn != "fit":
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
