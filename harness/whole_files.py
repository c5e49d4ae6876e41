"""Files that hold whole contents only, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave what is there as it is. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def append_whole(path: Path, line: bytes) -> None:
    """Add a line and wait until it is on the disk. Raises OSError, with what could be written of it taken back."""
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):  # then half a line is left, which --resume cuts
                file.truncate(size)
            raise
