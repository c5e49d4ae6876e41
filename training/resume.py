"""Where a training goes on: the checkpoint that --ckpt_path means, and the run folder it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.checkpoint import load_tensors
from training.errors import TrainingError, require

MEND = "--ckpt_path wants last, or a .ckpt file from lightning_logs/<run>/checkpoints/"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to go on from, after `step` optimiser steps. `run` is its folder under the logs; None elsewhere.

    `averaged`: of a training with --ema_decay.
    """

    path: Path
    step: int
    run: str | None
    averaged: bool


def open_checkpoint(asked: str, logs_dir: Path, prefix: str) -> Checkpoint:
    """The file that `asked` names; for "last", the newest that a run named `prefix`... under `logs_dir` has left.

    Raises:
        TrainingError: there is none, it is damaged, or it was not written by a training.
    """
    path = last_checkpoint(logs_dir, prefix) if asked == "last" else Path(asked)
    content = load_tensors(path, MEND)
    require(
        isinstance(content, dict) and {"global_step", "loops", "state_dict"} <= content.keys(),
        f"{path}: holds no state of a training; {MEND} (for weights alone: --model.init_from)",
    )
    folder = path.resolve().parent.parent
    run = folder.name if folder.parent == logs_dir.resolve() else None
    return Checkpoint(path, content["global_step"], run, averaged="averaging_state" in content)


def last_checkpoint(logs_dir: Path, prefix: str) -> Path:
    """The newest checkpoints/last.ckpt of the runs whose folders begin with `prefix`."""
    found = list(logs_dir.glob(f"{prefix}*/checkpoints/last.ckpt"))
    if not found:
        raise TrainingError(
            f"--ckpt_path: no run {prefix}* in {logs_dir}/ has finished an epoch; leave the flag out to start one"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns)
