"""What happens around training: best weights to disk, curves, throughput, one line at the end."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from typing import Any

import torch
import torchvision
from lightning import Callback, LightningModule, Trainer
from lightning import __version__ as lightning_version
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from training.checkpoint import Metadata, save_weights, weights_path
from training.classifier import MEAN, STD, Classifier
from training.errors import TrainingError


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


class BestWeights(Callback):
    """Writes the weights with the best validation accuracy when training ends, and says where they are."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput
        self.loader_images_per_s = 0.0
        self.val_loss: dict[int, float] = {}
        self._started_at = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Kept in the run's checkpoints, for `--ckpt_path`."""
        return {"val_loss": self.val_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.val_loss = state_dict["val_loss"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the loss: ModelCheckpoint keeps the accuracy only."""
        if "val/loss" in trainer.callback_metrics:
            self.val_loss[trainer.current_epoch] = float(trainer.callback_metrics["val/loss"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time the loader while nothing else runs."""
        assert isinstance(pl_module, Classifier)  # noqa: S101 - for the type checker
        self.loader_images_per_s = pl_module.images.time_loading()
        self._started_at = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises TrainingError when no validation ran."""
        assert isinstance(pl_module, Classifier)  # noqa: S101 - for the type checker
        keeper = trainer.checkpoint_callback
        if trainer.fast_dev_run or trainer.interrupted or not isinstance(keeper, ModelCheckpoint):  # type: ignore[attr-defined]
            return
        if not keeper.best_model_path:
            raise TrainingError("no validation ran, so no weights were written; drop --trainer.limit_val_batches 0")
        fit_s = time.perf_counter() - self._started_at
        best = torch.load(keeper.best_model_path, map_location="cpu", weights_only=True)
        prefix = "network."
        state_dict = {name.removeprefix(prefix): t for name, t in best["state_dict"].items() if name.startswith(prefix)}
        epoch = int(best["epoch"])
        metadata = describe(pl_module, keeper, epoch, self.val_loss[epoch], fit_s)
        path = weights_path(pl_module.weights_dir, metadata.image_size)
        save_weights(path, state_dict, metadata, pl_module.images.draw_samples())
        print(
            f"{path}: validation accuracy {metadata.accuracy:.3f} after {fit_s:.0f} s; loader "
            f"{self.loader_images_per_s:.0f} img/s, step {self.throughput.images_per_s:.1f} img/s, "
            f"{self.throughput.wait_share:.1%} of the time spent waiting for data",
            flush=True,
        )


def describe(model: Classifier, keeper: ModelCheckpoint, epoch: int, val_loss: float, fit_s: float) -> Metadata:
    """The JSON that goes with the weights of `epoch` (counted from 0 here, from 1 in the JSON)."""
    data = model.images
    best = keeper.best_model_score
    assert best is not None  # noqa: S101 - ModelCheckpoint sets it together with best_model_path
    return Metadata(
        image_size=data.image_size,
        num_classes=len(data.classes),
        classes=data.classes,
        normalization={"mean": list(MEAN), "std": list(STD)},
        accuracy=float(best),
        val_loss=val_loss,
        epoch=epoch + 1,
        seed=torch.initial_seed(),
        data={
            "source": data.source,
            "root": str(data.root) if data.root else None,
            "train_images": len(data.opened.train),  # type: ignore[arg-type]
            "val_images": len(data.opened.val),  # type: ignore[arg-type]
        },
        init_from=str(model.init_from) if model.init_from else None,
        fit_s=round(fit_s, 2),
        device=torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor() or "cpu",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"torch": torch.__version__, "torchvision": torchvision.__version__, "lightning": lightning_version},
    )
