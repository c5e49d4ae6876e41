"""What is given up for what: latency against throughput, accuracy against throughput."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.figures.style import LABEL_PT, Style, colour_of, label_ends, panels, pick_contenders, styles, value_axis
from analysis.language import Language
from analysis.names import backend_label
from analysis.words import FIGURE_WORDS

SIZE_AREAS = (28, 55, 95, 150)


def latency_vs_throughput(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """FPS over the latency of one batch (host_ms where every cell has it), a line per contender through its batches."""
    words = FIGURE_WORDS[language.code]
    data = table[table["ranked"].astype(bool)].copy()
    if data.empty:
        return None
    x = "host_ms" if pd.to_numeric(data["host_ms"]).notna().all() else "mean_ms"
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
        panel.set_xlabel(words[x], fontsize=8)
        panel.set_ylabel(words["fps"], fontsize=8)
        label_ends(panel, ends)
    return figure


def _curve(axes: Axes, part: pd.DataFrame, x: str, style: Style) -> tuple[float, float, str, str]:
    part = part.sort_values("batch_size")
    xs, ys = (part[c].to_numpy(float) for c in (x, "fps"))
    colour = style.colour
    axes.plot(xs, ys, color=colour, linestyle=style.line, marker=style.marker, markersize=3.5, linewidth=1.1)
    return float(xs[-1]), float(ys[-1]), style.label, colour


def pareto_front(fps: np.ndarray, accuracy: np.ndarray) -> list[int]:
    """Indices of points that no other point beats in both, by falling FPS."""
    order = np.lexsort((-accuracy, -fps))
    front, best = [], -np.inf
    for i in order:
        if accuracy[i] > best:
            front.append(int(i))
            best = accuracy[i]
    return front


def accuracy_vs_fps(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Accuracy over FPS, one point per contender and image size at its best batch; the best trade-offs are named."""
    words = FIGURE_WORDS[language.code]
    data = table[table["ranked"].astype(bool)].copy()
    data["accuracy"] = pd.to_numeric(data["accuracy"])
    data = data[data["accuracy"].notna()]
    if data.empty:
        return None
    best = data.loc[data.groupby(["contender", "image_size"])["fps"].idxmax()].reset_index(drop=True)
    figure, (axes,) = panels([words["best_batch"]], words["accuracy_vs_fps"], caption)
    fps, accuracy = best["fps"].to_numpy(float), best["accuracy"].to_numpy(float) * 100
    looks, sizes = styles(table), sorted(set(best["image_size"]))
    for i, point in best.iterrows():
        style = looks[point["contender"]]
        area = SIZE_AREAS[min(sizes.index(point["image_size"]), len(SIZE_AREAS) - 1)]
        axes.scatter(fps[i], accuracy[i], s=area, marker=style.marker, color=style.colour, alpha=0.55, linewidths=0)
    front = pareto_front(fps, accuracy)
    axes.step(fps[front], accuracy[front], where="pre", color="#555555", linewidth=1.2, zorder=1)
    value_axis(axes, fps, language, axis="x")
    spread = max(1.0, accuracy.max() - accuracy.min())
    axes.set_ylim(accuracy.min() - 0.15 * spread, accuracy.max() + 0.15 * spread)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: language.number(value, 1)))
    axes.set_xlabel(words["fps"], fontsize=8)
    axes.set_ylabel(words["accuracy"], fontsize=8)
    label_ends(axes, [_named(best.loc[i], fps[i], accuracy[i], looks, words) for i in front])
    _key(axes, sizes, sorted(set(best["backend"])), words)
    return figure


def _named(point: pd.Series, fps: float, accuracy: float, looks: dict, words: dict) -> tuple[float, float, str, str]:
    style = looks[point["contender"]]
    return fps, accuracy, f"{style.label}, {words['size_facet'].format(value=point['image_size'])}", style.colour


def _key(axes: Axes, sizes: list[int], backends: list[str], words: dict[str, str]) -> None:
    for backend in backends:
        axes.scatter([], [], s=SIZE_AREAS[1], marker="s", color=colour_of(backend), label=backend_label(backend))
    for i, size in enumerate(sizes):
        area = SIZE_AREAS[min(i, len(SIZE_AREAS) - 1)]
        axes.scatter([], [], s=area, color="#999999", label=words["size_facet"].format(value=size))
    axes.legend(fontsize=LABEL_PT, frameon=False, loc="lower left")
