"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.load import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write to, which then takes that of `path`. Raises InputError naming `path`, and leaves nothing behind.

    What was at `path` before stays when writing fails.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise InputError(describe_failure(path, error)) from None
    finally:
        part.unlink(missing_ok=True)


def describe_failure(path: Path, error: OSError) -> str:
    """One line for a file or folder that cannot be written; Arrow's errors have no `strerror`."""
    return f"{path}: cannot be written: {error.strerror or error}; make room or access for it, and call this again"


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step. Raises InputError as `replacing` does."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
