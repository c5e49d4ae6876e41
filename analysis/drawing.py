"""Figures in every language by several processes: drawing is half of a report's time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
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
        tasks = [pool.submit(draw_figures, table, origin, folder, *share) for share in others]
        drawn = set(draw_figures(table, origin, folder, *first)).union(*(task.result() for task in tasks))
    return [name for name in names if name in drawn]
