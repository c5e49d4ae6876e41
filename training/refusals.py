"""What Lightning, the system or the machine's memory refuse, in the words of `python -m training`."""

from __future__ import annotations

import errno
import re
import tempfile
from pathlib import Path
from typing import Any

from training.errors import TrainingError


def find_trainer_flag(message: str, asked: Any) -> str:
    """The flag that Lightning's `message` speaks of: the first field of `asked` in it, or those of the hardware."""
    named = [name for name in re.findall(r"\w+", message) if name in asked][:1]
    given = [name for name in ("accelerator", "devices", "strategy") if asked[name] != "auto"]
    return ", ".join(f"--trainer.{name}" for name in named or given) or "--trainer"


def check_folder(folder: Path, flag: str = "") -> None:
    """Raises TrainingError when no file could be written to `folder`, which need not be there and is not made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise TrainingError(
            f"{flag}{folder}: cannot be written ({there}: {error.strerror}); name another folder, or mend this one"
        ) from error


def explain_failure(error: Exception) -> str:
    """One line on an OSError, or else an error of memory: what it is about, the reason, the mend."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if not isinstance(error, OSError):
        return f"too little memory ({lines[0]}); lower --data.batch_size or --data.image_size"
    if error.errno == errno.ENOSPC:
        return "the disk is full; make room, then go on with --ckpt_path last"
    file = f"{error.filename}: " if error.filename else ""
    # an error in a loader process brings that process's traceback before it
    return f"{file}{error.strerror or lines[-1]}; mend that, and a training goes on with --ckpt_path last"
