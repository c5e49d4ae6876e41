"""What Lightning's Tuner finds before training: a learning rate, and the largest batch that fits a GPU's memory."""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Iterator

import matplotlib.pyplot as plt
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.tuner import Tuner

from training.classifier import Classifier
from training.data import ImageDataModule
from training.errors import require

RATES = (1e-6, 1.0)  # the range that is tried, step by step, each a little higher
STEPS, FEWEST_STEPS = 100, 40  # of a trial; with fewer, the rate would jump from one to the next
STEPS_PER_EPOCH = 10  # that a larger batch has to leave


def find_learning_rate(trainer: Trainer, model: Classifier, data: ImageDataModule) -> None:
    """Set `model.learning_rate` to where the loss falls fastest (Smith, 2017); print it, and draw loss over rate.

    Weights, optimiser and data go back to where they were. Raises TrainingError when the run is too short to try.
    """
    data.setup("fit")
    per_epoch = math.ceil(data.images_per_epoch / data.batch_size) // trainer.accumulate_grad_batches
    steps = min(STEPS, per_epoch * trainer.max_epochs) if trainer.max_epochs and trainer.max_epochs > 0 else STEPS
    require(
        steps >= FEWEST_STEPS,
        f"--find_learning_rate: a run of {steps} steps is too short for it, {FEWEST_STEPS} are needed; "
        "give more epochs or a smaller --data.batch_size",
    )
    before = model.learning_rate
    with without_bar():
        finder = Tuner(trainer).lr_find(model, datamodule=data, min_lr=RATES[0], max_lr=RATES[1], num_training=steps)
    found = finder.suggestion() if finder is not None else None
    require(found is not None, "--find_learning_rate: the loss was finite at too few rates; set --model.learning_rate")
    where = ""
    if isinstance(trainer.logger, TensorBoardLogger):
        figure = finder.plot(suggest=True)  # type: ignore[union-attr]
        trainer.logger.experiment.add_figure("find/learning_rate", figure)
        plt.close(figure)  # type: ignore[arg-type]
        where = f"; loss over rate: {trainer.logger.log_dir} (make tensorboard)"
    if trainer.is_global_zero:
        print(f"learning rate found: {found:.2g} (instead of {before:.2g}){where}", flush=True)


def find_batch_size(trainer: Trainer, model: Classifier, data: ImageDataModule) -> None:
    """Double `data.batch_size` while it fits into memory and leaves STEPS_PER_EPOCH steps an epoch; print it."""
    data.setup("fit")
    before = data.batch_size
    most = max(before, data.images_per_epoch // STEPS_PER_EPOCH)
    trials = int(math.log2(most / before)) + 1
    with without_bar():
        Tuner(trainer).scale_batch_size(
            model, datamodule=data, mode="power", init_val=before, max_trials=trials, max_val=2**31
        )
    if trainer.is_global_zero:
        print(f"batch size found: {data.batch_size} (instead of {before}; at most {most} was tried)", flush=True)


@contextlib.contextmanager
def without_bar() -> Iterator[None]:
    """Lightning's search draws a progress bar, wanted or not; only a terminal is to show it."""
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
        yield
