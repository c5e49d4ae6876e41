"""Figures in every language by several processes: drawing is half of a report's time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from analysis.figures.draw import FIGURES, draw_figures
from analysis.language import LANGUAGES

MOST_SHARES = 4  # of a language's figures; each process first imports for two seconds


def draw_languages(table: pd.DataFrame, origin: Mapping[str, str], folder: Path) -> list[str]:
    """As draw_figures, the same files: one share of them by this process, the others each by a process of its own."""
    count = min(max(1, (os.cpu_count() or 1) // len(LANGUAGES)), MOST_SHARES)
    names = list(FIGURES)
    first, *others = [((code,), names[start::count]) for code in LANGUAGES for start in range(count)]
    with ProcessPoolExecutor(len(others), mp_context=get_context("spawn")) as pool:
        with _interrupts_kept_from_children():
            tasks = [pool.submit(draw_figures, table, origin, folder, *share) for share in others]
        drawn = set(draw_figures(table, origin, folder, *first)).union(*(task.result() for task in tasks))
    return [name for name in names if name in drawn]


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """A process started here finishes its share: Ctrl-C, which a terminal sends to all, would make it print a trace.

    It inherits the mask. The pool must exist already: making it starts multiprocessing's resource tracker, which would
    unblock the signal.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
