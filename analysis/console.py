"""Where commands print."""

from __future__ import annotations

from rich.console import Console

PIPED_WIDTH = 140  # characters; rich would wrap tables at 80 in a log


def plain_console() -> Console:
    """A console that colours nothing by itself and does not break table rows when piped."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=PIPED_WIDTH)
