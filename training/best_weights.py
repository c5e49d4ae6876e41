"""The best weights of a run: to disk with their description, and to TensorBoard's table of runs."""

from __future__ import annotations

import math
import platform
import time
from datetime import UTC, datetime
from typing import Any

import torch
import torchvision
from lightning import Callback, LightningModule, Trainer
from lightning import __version__ as lightning_version
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from training.callbacks import Throughput
from training.checkpoint import Metadata, StateDict, find_not_finite, save_weights, weights_path
from training.classifier import MEAN, STD, Classifier
from training.errors import TrainingError
from training.network import network_arguments
from training.splits import draw_samples


class BestWeights(Callback):
    """Writes the weights with the best validation accuracy when training ends, and says where they are."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput
        self.val_loss: dict[int, float] = {}
        self._started_at: float | None = None
        self._earlier_s = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Kept in the run's checkpoints, for `--ckpt_path`."""
        return {"val_loss": self.val_loss, "fit_s": self.fit_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.val_loss, self._earlier_s = state_dict["val_loss"], state_dict["fit_s"]

    @property
    def fit_s(self) -> float:
        """Seconds of training up to now; of a resumed run, also those up to its checkpoint."""
        now_s = time.perf_counter() - self._started_at if self._started_at is not None else 0.0
        return self._earlier_s + now_s

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the loss: ModelCheckpoint keeps the accuracy only."""
        if "val/loss" in trainer.callback_metrics:
            self.val_loss[trainer.current_epoch] = float(trainer.callback_metrics["val/loss"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start of the clock."""
        self._started_at = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also where a resumed run had nothing left to do. Raises TrainingError when no validation ran."""
        assert isinstance(pl_module, Classifier)  # noqa: S101 - for the type checker
        keeper = trainer.checkpoint_callback
        if trainer.fast_dev_run or trainer.interrupted or not isinstance(keeper, ModelCheckpoint):  # type: ignore[attr-defined]
            return
        if not keeper.best_model_path:
            raise TrainingError(f"no validation ran, so no weights were written; {mend_for_validation(trainer)}")
        if not trainer.is_global_zero:  # all processes hold the same; one writes
            return
        fit_s = self.fit_s
        best = torch.load(keeper.best_model_path, map_location="cpu", weights_only=True)
        prefix = "network."
        state_dict = {name.removeprefix(prefix): t for name, t in best["state_dict"].items() if name.startswith(prefix)}
        epoch = int(best["epoch"])
        check_finite(state_dict, self.val_loss[epoch], epoch, pl_module.learning_rate)
        metadata = describe(pl_module, keeper, epoch, self.val_loss[epoch], fit_s)
        path = weights_path(pl_module.weights_dir, metadata.image_size, metadata.arch)
        save_weights(path, state_dict, metadata, draw_samples(pl_module.images.opened, pl_module.images.seed))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                log_run(logger, pl_module, metadata, self.throughput.images_per_s)
        print(
            f"{path}: validation accuracy {metadata.accuracy:.3f} after {fit_s:.0f} s; loader "
            f"{self.throughput.loader_images_per_s:.0f} img/s, step {self.throughput.images_per_s:.1f} img/s, "
            f"{self.throughput.wait_share:.1%} of the time spent waiting for data",
            flush=True,
        )


def mend_for_validation(trainer: Trainer) -> str:
    """What to change for a validation to run."""
    if trainer.limit_val_batches == 0:
        return "drop --trainer.limit_val_batches 0"
    for flag in ("max_epochs", "max_steps", "limit_train_batches"):
        if getattr(trainer, flag) == 0:
            return f"--trainer.{flag} is 0: give at least 1"
    return "let --trainer.check_val_every_n_epoch be at most --trainer.max_epochs"


def check_finite(state_dict: StateDict, val_loss: float, epoch: int, learning_rate: float) -> None:
    """Raises TrainingError for what a training that diverged leaves. `epoch` is counted from 0."""
    spoilt = None if math.isfinite(val_loss) else f"validation loss is {val_loss}"
    if spoilt is None and (name := find_not_finite(state_dict)):
        spoilt = f"{name} is not finite"
    if spoilt:
        raise TrainingError(
            f"the training diverged: in its best epoch, {epoch + 1}, the {spoilt}, so no weights were written; "
            f"give a --model.learning_rate below {learning_rate:g}"
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
        seed=data.run_seed,
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
        arch=model.arch,
        arch_arguments=network_arguments(model.arch, data.image_size),
    )


def log_run(logger: TensorBoardLogger, model: Classifier, metadata: Metadata, images_per_s: float) -> None:
    """One line in TensorBoard's HPARAMS table: what was chosen, and what came of it."""
    chosen = {
        "image_size": metadata.image_size,
        "batch_size": model.images.batch_size,
        "augment": model.images.augment,
        "source": model.images.source,
        "optimizer": model.optimizer_name,
        "learning_rate": model.learning_rate,
        "weight_decay": model.weight_decay,
        "warmup_fraction": model.warmup_fraction,
        "label_smoothing": model.label_smoothing,
        "mixup": model.mixup,
        "cutmix": model.cutmix,
        "init_from": metadata.init_from or ("pretrained" if model.pretrained else "scratch"),
        "seed": metadata.seed,
    }
    outcome = {"accuracy": metadata.accuracy, "val_loss": metadata.val_loss, "step_images_per_s": images_per_s}
    metrics = {f"best/{name}": value for name, value in outcome.items() if value is not None}
    # not by log_hyperparams: its definition of the table's columns would hide those of the benchmark's jobs
    logger.hparams.update(chosen)
    _, start, end = hparams(chosen, metrics)
    for summary in (start, end):
        logger.experiment._get_file_writer().add_summary(summary)
    logger.log_metrics(metrics, 0)
