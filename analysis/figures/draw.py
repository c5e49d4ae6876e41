"""Every figure of a study, in both languages, as PNG and SVG files with reproducible bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import limits, scaling, tradeoff
from analysis.language import LANGUAGES, Language
from analysis.whole_files import replacing
from analysis.words import FIGURE_WORDS

Draw = Callable[[pd.DataFrame, Language, str], Figure | None]

FIGURES: dict[str, Draw] = {
    "fps_vs_batch": scaling.fps_vs_batch,
    "fps_vs_size": scaling.fps_vs_size,
    "pixels_vs_size": scaling.pixels_vs_size,
    "speedup_vs_batch": scaling.speedup_vs_batch,
    "speedup_vs_size": scaling.speedup_vs_size,
    "time_vs_batch": scaling.time_vs_batch,
    "latency_vs_throughput": tradeoff.latency_vs_throughput,
    "memory_vs_batch": scaling.memory_vs_batch,
    "accuracy_vs_fps": tradeoff.accuracy_vs_fps,
    "accuracy_vs_latency": tradeoff.accuracy_vs_latency,
    "roofline": limits.roofline,
    "load_bars": limits.load_bars,
    "energy_vs_batch": scaling.energy_vs_batch,
}


def draw_figures(
    table: pd.DataFrame,
    origin: Mapping[str, str],
    folder: Path,
    languages: Iterable[str] = LANGUAGES,
    names: Iterable[str] = tuple(FIGURES),
) -> list[str]:
    """Write figures/<name>.{png,svg} in English and figures/ru/ in Russian under `folder`; answers the names drawn.

    `origin` names device, clock and run for the caption; `names` are keys of FIGURES. A figure without data is left
    out, and a file of that name from an earlier call is removed.
    """
    drawn = []
    for name in names:
        for code in languages:
            target = folder / "figures" / ("" if code == "en" else code)
            figure = FIGURES[name](table, Language(code), FIGURE_WORDS[code]["caption"].format(**origin))
            if figure is None:
                for suffix in (".png", ".svg"):
                    (target / f"{name}{suffix}").unlink(missing_ok=True)
                continue
            save(figure, target / name)
            drawn.append(name)
    return list(dict.fromkeys(drawn))


def save(figure: Figure, stem: Path) -> None:
    """Write `stem`.png and `stem`.svg. The same figure gives the same bytes: no date, fixed ids.

    Every id in the SVG begins with the file's name, so that several can stand in one HTML page.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    _write(stem.with_suffix(".png"), _bytes(figure, format="png", metadata={"Software": None}))
    with mpl.rc_context({"svg.hashsalt": "analysis"}):
        svg = _bytes(figure, format="svg", metadata={"Date": None, "Creator": None}).decode("utf-8")
    _write(stem.with_suffix(".svg"), re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{stem.name}-", svg).encode("utf-8"))


def _bytes(figure: Figure, **options: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)
