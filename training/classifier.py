"""Classifier: a network of torchvision, ResNet-18 unless another is named, in training."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import LightningModule
from torch import nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from training.augment import batch_mixing
from training.checkpoint import CheckpointError, load_state_dict, weights_path
from training.data import ImageDataModule
from training.errors import require
from training.network import ARCH, build_network, check_arch, check_state_dict
from training.order import derive_seed
from training.schedule import warmup_cosine

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights expect


class Classifier(LightningModule):
    """An image classifier trained with cross-entropy, warm-up and cosine decay.

    Args:
        arch: torchvision's name of the network, any of its image classifiers, e.g. resnet50 or mobilenet_v3_small.
        optimizer: sgd (Nesterov momentum) or adamw.
        learning_rate: Peak learning rate, reached after the warm-up.
        momentum: Momentum of sgd.
        weight_decay: L2 penalty (sgd) or decoupled decay (adamw); not on biases and batch norms.
        warmup_fraction: Share (0 to 1) of all steps in which the learning rate rises to its peak.
        label_smoothing: Share (0 to 1) of the label spread over all classes.
        mixup: Blend each training image, and its label, with another of its batch.
        cutmix: Paste a part of another image of the batch into each training image, and share the label out by area.
            With mixup, one of both by chance for each batch.
        pretrained: Start from torchvision's ImageNet weights (downloaded once).
        init_from: A .pth file of the same network to start from, e.g. another size's weights/best_resnet18_224.pth.
            null: from scratch; for validate and test, null means the best weights of --data.image_size.
        weights_dir: Set by --weights_dir.
        channels_last: Keep images and weights in the channels_last memory format, which convolutions are faster in.
        compile: Train through torch.compile: pays on a GPU when training lasts for minutes, as compiling takes tens of
            seconds. Validation and a smaller last batch stay as they are.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        *,
        arch: str = ARCH,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        learning_rate: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup_fraction: float = 0.1,
        label_smoothing: float = 0.05,
        mixup: bool = False,
        cutmix: bool = False,
        pretrained: bool = False,
        init_from: Path | None = None,
        weights_dir: Path = Path("weights"),
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_arch(arch)
        require(0 < learning_rate < math.inf, f"--model.learning_rate: {learning_rate}; give more than 0, e.g. 0.05")
        require(weight_decay >= 0, f"--model.weight_decay: {weight_decay}; give 0 or more")
        for flag, share in (
            ("momentum", momentum),
            ("warmup_fraction", warmup_fraction),
            ("label_smoothing", label_smoothing),
        ):
            require(0 <= share < 1, f"--model.{flag}: {share}; give 0 or more, and less than 1")
        require(not (pretrained and init_from), "--model.pretrained and --model.init_from exclude each other; drop one")
        self.arch = arch
        self.optimizer_name, self.learning_rate, self.momentum = optimizer, learning_rate, momentum
        self.weight_decay, self.warmup_fraction, self.label_smoothing = weight_decay, warmup_fraction, label_smoothing
        self.mixup, self.cutmix = mixup, cutmix
        self.pretrained, self.init_from, self.weights_dir = pretrained, init_from, weights_dir
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compiled_step = torch.compile(self._answer, dynamic=False) if compile else None
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    @property
    def images(self) -> ImageDataModule:
        """The data module of the running trainer."""
        return self.trainer.datamodule  # type: ignore[attr-defined, no-any-return]

    def setup(self, stage: str) -> None:
        """Build the network for the data's classes. Raises TrainingError when the weights to start from do not fit."""
        if hasattr(self, "network"):
            return
        num_classes = len(self.images.classes)
        source = self.init_from
        if source is None and stage != "fit":
            source = weights_path(self.weights_dir, self.images.image_size, self.arch)
        self.network = build_network(num_classes, self.pretrained, self.arch, self.images.image_size)
        if source is not None:
            state_dict = load_state_dict(source)
            if reason := check_state_dict(state_dict, num_classes, self.arch, self.images.image_size):
                raise CheckpointError(
                    f"{source}: {reason} (--model.init_from); choose weights of {self.arch} for the same classes"
                )
            self.network.load_state_dict(state_dict)
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.mix = batch_mixing(self.mixup, self.cutmix, num_classes)
        splits = ("train_", "val_", "test_")
        # their checks of labels and values would wait for the GPU at every step
        self.accuracy = nn.ModuleDict(
            {split: MulticlassAccuracy(num_classes, average="micro", validate_args=False) for split in splits}
        )
        # Lightning's own mean over processes counts images in halves and rounds them off
        self.loss = nn.ModuleDict({split: MeanMetric(nan_strategy="disable") for split in splits})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Levels 0 to 255 (N, 3, S, S) -> logits (N, classes)."""
        normalised = (images.float() / 255 - self.mean) / self.std
        return self.network(normalised.contiguous(memory_format=self.memory_format))  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        """Lightning leaves on_train_epoch_start out for the first epoch after a resume."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Chance of this epoch (data, mixing, dropout) starts afresh, from the run's seed and the epoch alone."""
        self.images.epoch = self.current_epoch
        torch.manual_seed(derive_seed(self.images.epoch_seed(), self.global_rank))

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        """Cross-entropy with label smoothing over one batch; its accuracy against the labels before any mixing."""
        images, labels = batch
        mixed = self.mix(images.float(), labels) if self.mix else (images, labels)
        # one shape is compiled: a smaller last batch would cost a second compilation
        compiled = self.compiled_step if len(labels) == self.images.batch_size else None
        logits, loss = (compiled or self._answer)(mixed[0], mixed[1], self.label_smoothing)
        self._log("train", logits, labels, loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_index: int) -> None:
        """Accuracy and plain cross-entropy over one batch."""
        self._log("val", *self._evaluate(batch))

    def test_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        """Accuracy and plain cross-entropy over one batch; its logits for what else is to be said of them."""
        logits, labels, loss = self._evaluate(batch)
        self._log("test", logits, labels, loss)
        return logits

    def _evaluate(self, batch: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        images, labels = batch
        logits, loss = self._answer(images, labels, label_smoothing=0.0)
        return logits, labels, loss

    def _log(self, split: str, logits: torch.Tensor, labels: torch.Tensor, loss: torch.Tensor) -> None:
        accuracy = cast(MulticlassAccuracy, self.accuracy[f"{split}_"])
        accuracy.update(logits, labels)
        mean_loss = cast(MeanMetric, self.loss[f"{split}_"])
        mean_loss.update(loss.detach().expand(len(labels)))  # with `disable`, torchmetrics 1.9 ignores a weight
        self.log_dict({f"{split}/loss": mean_loss, f"{split}/accuracy": accuracy}, on_step=False, on_epoch=True)

    def _answer(
        self, images: torch.Tensor, labels: torch.Tensor, label_smoothing: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self(images)
        return logits, functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    def configure_optimizers(self) -> Any:
        """The optimiser, and its learning rate set before every step."""
        decayed = [parameter for parameter in self.network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.network.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        fused = fits_fused(self.device.type, self.trainer.precision, self.trainer.gradient_clip_val) or None
        optimizer: torch.optim.Optimizer
        if self.optimizer_name == "sgd":
            nesterov = self.momentum > 0
            optimizer = torch.optim.SGD(groups, self.learning_rate, self.momentum, nesterov=nesterov, fused=fused)
        else:
            optimizer = torch.optim.AdamW(groups, self.learning_rate, fused=fused)
        total = int(self.trainer.estimated_stepping_batches)
        factor = partial(warmup_cosine, total_steps=total, warmup_steps=round(total * self.warmup_fraction))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fits_fused(device_type: str, precision: str, gradient_clip_val: float | None) -> bool:
    """Whether an optimiser that does a whole step in one kernel fits.

    Lightning refuses to clip gradients under autocast with one, as it could unscale them by itself (16-mixed has it).
    """
    clips_under_autocast = bool(gradient_clip_val) and precision.endswith("-mixed")
    return device_type == "cuda" and precision != "16-mixed" and not clips_under_autocast
