"""The one error that `python -m training` turns into one line and exit status 2."""


class TrainingError(ValueError):
    """Something the user can mend. The message is one line, names the flag or file, and says the mend."""
