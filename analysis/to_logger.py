"""A study into an experiment tracker, through Lightning's loggers: one tracked run per contender, steps are batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import InputError
from analysis.study import Study
from analysis.to_tensorboard import SCALARS

LOGGERS = {"csv": "CSVLogger", "mlflow": "MLFlowLogger", "wandb": "WandbLogger"}


def make_logger(kind: str, study: Study, contender: str, folder: Path) -> Any:
    """Lightning's logger of this kind for one contender. Raises InputError when its library is not installed.

    MLflow and Weights & Biases are told where to write by their own environment variables (MLFLOW_TRACKING_URI,
    WANDB_MODE, ...); left alone, `folder` gets the files of CSV and MLflow.
    """
    if kind not in LOGGERS:
        raise InputError(f"--to {kind}: is not one of {', '.join(LOGGERS)}")
    from lightning.pytorch import loggers  # noqa: PLC0415 - brings torch, which nothing else here needs

    run_id = study.run.run_id
    options: dict[str, dict[str, Any]] = {
        "csv": {"save_dir": folder, "name": run_id, "version": contender.replace("/", "-")},
        "mlflow": {"experiment_name": run_id, "run_name": contender, "save_dir": str(folder)},
        "wandb": {"project": run_id, "name": contender, "save_dir": folder, "reinit": "finish_previous"},
    }
    try:
        return getattr(loggers, LOGGERS[kind])(**options[kind])
    except ModuleNotFoundError as error:
        raise InputError(f"--to {kind}: {kind} is not installed: pip install {kind}") from error


def log_study(study: Study, make: Callable[[str], Any]) -> int:
    """Log every contender's numbers by batch size; `make` gives the logger of a contender. Answers their number."""
    groups = list(study.ranked.groupby("contender", sort=True))
    for contender, lines in groups:
        logger = make(str(contender))
        logger.log_hyperparams(_chosen(study, lines))
        for step, numbers in _steps(lines):
            logger.log_metrics(numbers, step=step)
        logger.save()
        logger.finalize("success")
    return len(groups)


def _chosen(study: Study, lines: pd.DataFrame) -> dict[str, str]:
    first = lines.iloc[0]
    names = {name: str(first[name]) for name in ("backend", "variant", "precision", "clock")}
    return {**names, "arch": study.run.arch, "device": study.device, "run": study.run.run_id}


def _steps(lines: pd.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    """(batch size, numbers), ascending: `fps/224_px` and its kin, as TensorBoard's charts over batch size have them."""
    for batch, part in lines.groupby("batch_size", sort=True):
        numbers = {
            f"{name}/{line['image_size']}_px": float(line[name])
            for line in part.to_dict("records")
            for name in SCALARS
            if line[name] is not None and not pd.isna(line[name])
        }
        yield int(str(batch)), numbers
