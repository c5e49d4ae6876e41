"""What Lightning's Tuner finds before training: a learning rate, and the largest batch that fits a GPU's memory."""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.tuner import Tuner

from training.classifier import Classifier
from training.data import ImageDataModule
from training.errors import require

RATES = (1e-6, 1.0)  # the range that is tried, step by step, each a little higher
SKIPPED = 10
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
        finder = Tuner(trainer).lr_find(
            model, datamodule=data, min_lr=RATES[0], max_lr=RATES[1], num_training=steps, update_attr=False
        )
    require(finder is not None, "--find_learning_rate: trains some steps; leave --trainer.fast_dev_run out")
    assert finder is not None  # noqa: S101 - for the type checker
    found = steepest_rate(finder.results["lr"], finder.results["loss"])
    model.learning_rate = found
    where = ""
    if isinstance(trainer.logger, TensorBoardLogger):
        figure, axes = plt.subplots()
        finder.plot(ax=axes)
        axes.axvline(found, color="red", label=f"{found:.2g}")
        axes.legend()
        trainer.logger.experiment.add_figure("find/learning_rate", figure)
        plt.close(figure)
        where = f"; loss over rate: {trainer.logger.log_dir} (make tensorboard)"
    if trainer.is_global_zero:
        print(f"learning rate found: {found:.2g} (instead of {before:.2g}){where}", flush=True)


def steepest_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate (0..) at which `losses` fall fastest over the logarithm of `rates`, which rise by equal factors.

    Lightning's own suggestion takes the slope over the rate itself, which is steepest where rates are closest: near 0.
    SKIPPED points at the start are left out, where the running mean of the loss has hardly begun.

    Raises:
        TrainingError: too few finite losses.
    """
    kept = np.isfinite(losses) & (np.arange(len(losses)) >= SKIPPED)
    require(
        int(kept.sum()) >= 3, "--find_learning_rate: the loss was finite at too few rates; set --model.learning_rate"
    )
    tried, reached = np.asarray(rates)[kept], np.asarray(losses)[kept]
    return float(tried[np.gradient(reached, np.log(tried)).argmin()])


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
