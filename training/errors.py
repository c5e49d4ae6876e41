"""The one error that `python -m training` turns into one line and exit status 2."""

from __future__ import annotations


class TrainingError(ValueError):
    """Something the user can mend. The message is one line, names the flag or file, and says the mend."""


def require(condition: bool, message: str) -> None:
    """Raises TrainingError with `message` when the condition does not hold."""
    if not condition:
        raise TrainingError(message)
