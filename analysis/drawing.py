"""Figures in every language at once: drawing is half of a report's time, and a second core does half of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from analysis.figures.draw import draw_figures
from analysis.language import LANGUAGES


def draw_languages(table: pd.DataFrame, origin: Mapping[str, str], folder: Path) -> list[str]:
    """As draw_figures, the same files: the first language by this process, each other one by a process of its own."""
    first, *others = LANGUAGES
    with ProcessPoolExecutor(len(others), mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(draw_figures, table, origin, folder, (code,)) for code in others]
        drawn = draw_figures(table, origin, folder, (first,))
        for task in tasks:
            task.result()  # raises what the other process raised
    return drawn
