"""Which process draws which figures."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ThreadPoolExecutor
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


def test_ctrl_c_is_for_the_first_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others inherit a mask that holds it back; where they are started, and nowhere after."""
    masks = []

    class Pool(ThreadPoolExecutor):
        def submit(self, *_: object, **__: object) -> Future:
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            return super().submit(list)

    monkeypatch.setattr(drawing, "draw_figures", lambda *_: [])
    monkeypatch.setattr(drawing, "ProcessPoolExecutor", lambda count, mp_context: Pool(count))
    drawing.draw_languages(pd.DataFrame(), {}, Path())
    assert masks
    assert all(signal.SIGINT in mask for mask in masks)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
