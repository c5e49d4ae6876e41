"""Which process draws which figures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from analysis import drawing
from analysis.figures.draw import FIGURES


@pytest.mark.parametrize(("cores", "shares"), [(None, 1), (1, 1), (2, 1), (5, 2), (64, 4)])
def test_every_figure_is_drawn_once_in_each_language(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, shares: int
) -> None:
    """By as many processes as there are cores for; the answer names those with data, in the order of the report."""
    drawn: list[tuple[str, str]] = []
    calls = []

    def draw(table: object, origin: object, folder: object, languages: tuple[str], names: list[str]) -> list[str]:
        calls.append(languages)
        drawn.extend((code, name) for code in languages for name in names)
        return [name for name in names if name != "roofline"]

    monkeypatch.setattr(drawing, "draw_figures", draw)
    monkeypatch.setattr(drawing, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(count))
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    answer = drawing.draw_languages(pd.DataFrame(), {}, Path())
    assert sorted(drawn) == sorted((code, name) for code in ("en", "ru") for name in FIGURES)
    assert len(calls) == 2 * shares
    assert answer == [name for name in FIGURES if name != "roofline"]
