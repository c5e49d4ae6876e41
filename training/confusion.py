"""What `python -m training test` says of each class: its accuracy, and what it is taken for."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torchmetrics.classification import MulticlassConfusionMatrix

from training.classifier import Classifier

MOST_LINES = 10  # classes that are printed, those of least accuracy; the figures have all
READABLE = 30  # classes up to which a matrix has room for its numbers and names


class ConfusionReport(Callback):
    """Counts answers by class while testing; draws and prints them at the end."""

    matrix: MulticlassConfusionMatrix

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        assert isinstance(pl_module, Classifier)  # noqa: S101 - for the type checker
        self.matrix = MulticlassConfusionMatrix(len(pl_module.images.classes)).to(pl_module.device)

    def on_test_batch_end(  # noqa: PLR0917 - Lightning's signature
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch: logits (N, classes) and labels (N,)."""
        self.matrix.update(outputs, batch[1])

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and print."""
        assert isinstance(pl_module, Classifier)  # noqa: S101 - for the type checker
        counts, classes = self.matrix.compute().cpu(), pl_module.images.classes
        if not trainer.is_global_zero:
            return
        where = ""
        if isinstance(trainer.logger, TensorBoardLogger):
            matrix, bars = draw_matrix(self.matrix, classes), draw_accuracies(counts, classes)
            for name, figure in (("confusion_matrix", matrix), ("accuracy_by_class", bars)):
                trainer.logger.experiment.add_figure(f"test/{name}", figure)
                plt.close(figure)
            where = f"; by class, and what is taken for what: {trainer.logger.log_dir} (make tensorboard)"
        print("\n".join(worst_classes(counts, classes)))
        correct, total = int(counts.diag().sum()), int(counts.sum())
        print(f"test accuracy {correct / total:.3f}, {correct} of {total} images{where}", flush=True)


def worst_classes(counts: torch.Tensor, classes: list[str]) -> list[str]:
    """A line for each of the MOST_LINES classes of least accuracy; `counts` (classes, classes): true class, answer."""
    tested = [number for number in range(len(classes)) if counts[number].sum() > 0]
    tested.sort(key=lambda number: float(counts[number, number] / counts[number].sum()))
    lines = []
    for number in tested[:MOST_LINES]:
        correct, images = int(counts[number, number]), int(counts[number].sum())
        line = f"{classes[number]}: accuracy {correct / images:.3f} ({correct} of {images})"
        if correct < images:
            others = counts[number].clone()
            others[number] = 0
            line += f", most often taken for {classes[int(others.argmax())]} ({int(others.max())})"
        lines.append(line)
    return lines


def draw_matrix(matrix: MulticlassConfusionMatrix, classes: list[str]) -> Figure:
    """True class down, answer across, as torchmetrics draws it."""
    side_in = min(20.0, 3 + 0.5 * len(classes))
    figure, axes = plt.subplots(figsize=(side_in, side_in), layout="constrained")
    few = len(classes) <= READABLE
    matrix.plot(ax=axes, add_text=few, labels=classes if few else None)
    return figure


def draw_accuracies(counts: torch.Tensor, classes: list[str]) -> Figure:
    """A bar for each class."""
    figure, axes = plt.subplots(figsize=(7, min(60.0, 1 + 0.25 * len(classes))), layout="constrained")
    axes.barh(classes, (counts.diag() / counts.sum(1).clamp(min=1)).tolist())
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="accuracy")
    return figure
