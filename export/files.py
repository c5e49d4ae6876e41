"""Safe reading and writing: whole files or none."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BadInputError(ValueError):
    """A flag or file that cannot be used. The message is one line that names it and the mend."""


def sha256_of(path: Path) -> str | None:
    """Hex digest of a file; None when it is missing."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CheckFailedError(RuntimeError):
    """An artefact failed a check and was not kept. The message is one line that names it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; move it onto `path` when the block ends without an exception.

    Whatever stops the block, a file that stood at `path` stays whole and the temporary one is removed. An OSError that
    names no file, as of a full disk, names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:  # NumPy says of a full disk how much it wrote, and no more
            error.strerror, error.filename = error.strerror or str(error), str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
