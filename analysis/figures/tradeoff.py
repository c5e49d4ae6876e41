"""What is given up for what: latency against throughput, accuracy against either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.stats import norm

from analysis.figures.layout import key, label_ends, name_axes, panels, value_axis
from analysis.figures.style import Style, colour_of, pick_contenders, styles
from analysis.language import Language
from analysis.names import backend_label
from analysis.pareto import exceeds, latency_column
from analysis.stats import CONFIDENCE
from analysis.words import FIGURE_WORDS

MARKER_PT = (4.5, 6.5, 8.5, 10.5)  # diameter by image size
KEY_COLUMNS = 5
NAMES_IN = 2.75  # names with their image size
End = tuple[float, float, str, str]


def latency_vs_throughput(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """FPS over the latency of one batch (host_ms where every cell has it), a line per contender through its batches."""
    words = FIGURE_WORDS[language.code]
    data = table[table["ranked"].astype(bool)].copy()
    if data.empty:
        return None
    x = latency_column(data)
    sizes = sorted(set(data["image_size"]))
    titles = [words["size_facet"].format(value=size) for size in sizes]
    batches = ", ".join(str(batch) for batch in sorted(set(data["batch_size"])))
    notes = f"{caption} · {words['batches_along'].format(batches=batches)}"
    shown = pick_contenders(data)
    if len(shown) < data["contender"].nunique():
        notes, data = f"{notes} · {words['fewer']}", data[data["contender"].isin(shown)]
    figure, axes = panels(titles, words["latency_vs_throughput"], notes)
    looks = styles(table)
    for panel, size in zip(axes, sizes, strict=True):
        here = data[data["image_size"] == size]
        ends = [_curve(panel, part, x, looks[contender]) for contender, part in here.groupby("contender", sort=True)]
        value_axis(panel, here["fps"].to_numpy(float), language)
        value_axis(panel, here[x].to_numpy(float), language, axis="x")
        label_ends(panel, ends)
    name_axes(figure, axes, words[x], words["fps"])
    return figure


def _curve(axes: Axes, part: pd.DataFrame, x: str, style: Style) -> End:
    part = part.sort_values("batch_size")
    xs, ys = (part[c].to_numpy(float) for c in (x, "fps"))
    colour = style.colour
    axes.plot(xs, ys, color=colour, linestyle=style.line, marker=style.marker, markersize=3.5, linewidth=1.1)
    return float(xs[-1]), float(ys[-1]), style.label, style.ink


def accuracy_vs_fps(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Expected accuracy over FPS, a point per contender and size at its best batch; those that none beats are named."""
    return _accuracy(table, "fps_front", "fps", language, caption)


def accuracy_vs_latency(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Expected accuracy over latency, a point per contender and size at its quickest batch; the front is named."""
    return _accuracy(table, "latency_front", latency_column(table[table["ranked"].astype(bool)]), language, caption)


def _accuracy(table: pd.DataFrame, front: str, x: str, language: Language, caption: str) -> Figure | None:
    words = FIGURE_WORDS[language.code]
    data = table[table[front].notna()].copy()
    if data.empty:
        return None
    data["percent"] = pd.to_numeric(data["expected_accuracy"]) * 100
    data["bar"] = pd.to_numeric(data["expected_accuracy_error"]) * 100 * norm.ppf(0.5 + CONFIDENCE / 2)
    best = data[data[front].map(lambda on: on is True).astype(bool)].sort_values(["percent", x])
    sizes, backends = sorted(set(data["image_size"])), sorted(set(data["backend"]))
    batch = words["best_batch" if front == "fps_front" else "quickest_batch"]
    notes = [caption, batch, words["bars"].format(level=round(100 * CONFIDENCE)), words["filled"]]
    handles = _handles(sizes, backends, words)
    rows = -(-len(handles) // KEY_COLUMNS)
    figure, (axes,) = panels(
        [""], words[f"accuracy_vs_{x if x == 'fps' else 'latency'}"], " · ".join(notes), key_rows=rows, right=NAMES_IN
    )
    looks = styles(table)
    for point in data.drop(best.index).to_dict("records"):
        _dot(axes, point, x, looks[point["contender"]], sizes, filled=False)
    points = [{str(name): value for name, value in point.items()} for point in best.to_dict("records")]
    for point in points:
        style = looks[point["contender"]]
        axes.errorbar(point[x], point["percent"], yerr=point["bar"], ecolor=style.colour, elinewidth=0.9, capsize=2)
        _dot(axes, point, x, style, sizes, filled=True)
    value_axis(axes, data[x].to_numpy(float), language, axis="x")
    low, high = (data["percent"] - data["bar"]).min(), (data["percent"] + data["bar"]).max()
    axes.set_ylim(low - 1.0, high + 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: language.number(value, 0)))
    named = [point for point in points if not any(exceeds(other, point, x) for other in points)]
    label_ends(axes, [_named(point, x, looks, words) for point in named])
    name_axes(figure, [axes], words[x], words["accuracy"])
    key(figure, axes, handles, KEY_COLUMNS)
    return figure


def _diameter(size: int, sizes: Sequence[int]) -> float:
    return MARKER_PT[min(list(sizes).index(size), len(MARKER_PT) - 1)]


def _dot(axes: Axes, point: dict[str, Any], x: str, style: Style, sizes: list[int], *, filled: bool) -> None:
    axes.plot(
        point[x], point["percent"], linestyle="", marker=style.marker, markersize=_diameter(point["image_size"], sizes),
        color=style.colour, mfc=style.colour if filled else "none", mew=0.9, alpha=1.0 if filled else 0.6,
    )  # fmt: skip


def _named(point: dict[str, Any], x: str, looks: dict[str, Style], words: dict[str, str]) -> End:
    style, size = looks[point["contender"]], words["size_facet"].format(value=point["image_size"])
    return float(point[x]), float(np.float64(point["percent"])), f"{style.label}, {size}", style.ink


def _handles(sizes: list[int], backends: list[str], words: dict[str, str]) -> list[Line2D]:
    colours = [
        Line2D([], [], linestyle="", marker="s", markersize=6, color=colour_of(name), label=backend_label(name))
        for name in backends
    ]
    areas = [
        Line2D([], [], linestyle="", marker="o", markersize=_diameter(size, sizes), color="#777777", mfc="none",
               label=words["size_facet"].format(value=size))
        for size in sizes
    ]  # fmt: skip
    return colours + areas
