"""The look of every figure: a colour per approach, a line per precision, a marker per variant, labels at line ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.optimize import isotonic_regression

from analysis.language import Language
from analysis.names import label_of, split_contender

# Okabe and Ito's colour-blind safe palette (https://jfly.uni-koeln.de/color/)
COLOURS = {
    "pytorch": "#D55E00",
    "onnx_runtime": "#0072B2",
    "torch_trt": "#009E73",
    "tensorrt_engine": "#CC79A7",
    "openvino": "#B8860B",  # Okabe-Ito's orange, darkened: it is also the colour of small text
}
OTHER_COLOUR = "#333333"
LINES = {
    "fp32": "-",
    "tf32": (0, (7, 1.5, 1, 1.5, 1, 1.5)),
    "fp16": (0, (4, 2)),
    "bf16": (0, (5, 1.5, 1, 1.5)),
    "int8": (0, (1, 1.5)),
}
MARKERS = "os^DvPX*"
MOST_CONTENDERS = 6  # in one panel; more are a tangle
LABEL_PT = 7.5
PANEL_IN, GUTTER_IN, HEIGHT_IN = 3.9, 1.95, 3.1
LEFT_IN, TOP_IN, BOTTOM_IN, GAP_IN = 0.9, 0.75, 0.85, 0.75


@dataclass(frozen=True)
class Style:
    """How one contender is drawn."""

    label: str
    colour: str
    line: Any
    marker: str


def styles(table: pd.DataFrame) -> dict[str, Style]:
    """Style of every contender of the whole summary, so that it looks the same in every figure."""
    variants: dict[str, list[str]] = {}
    found = {}
    for contender in sorted(set(table["contender"])):
        backend, variant, precision = split_contender(contender)
        seen = variants.setdefault(backend, [])
        if variant not in seen:
            seen.append(variant)
        found[contender] = Style(
            label=label_of(contender).replace("$", r"\$"),  # a dollar sign would start mathematics
            colour=colour_of(backend),
            line=LINES.get(precision, "-"),
            marker=MARKERS[seen.index(variant) % len(MARKERS)],
        )
    return found


def pick_contenders(table: pd.DataFrame) -> list[str]:
    """Contenders that a figure shows: all of them up to MOST_CONTENDERS, else each library's best per precision.

    The best is the one fastest at most cells of the ranked `table`; the style of the rest is kept for other figures.
    """
    everyone = sorted(set(table["contender"]))
    if len(everyone) <= MOST_CONTENDERS or table.empty:
        return everyone
    groups = ["backend", "precision", "image_size", "batch_size"]
    wins = table.loc[table.groupby(groups)["fps"].idxmax()].groupby(["backend", "precision"])["contender"]
    return sorted(str(found.value_counts().sort_index().idxmax()) for _, found in wins)


def colour_of(backend: str) -> str:
    """The colour of an approach in every figure."""
    return COLOURS.get(backend, OTHER_COLOUR)


def panels(titles: Sequence[str], title: str, caption: str) -> tuple[Figure, list[Axes]]:
    """A figure with one axes per title, two to a row, a gutter for labels at the right of each."""
    columns = min(2, len(titles))
    rows = math.ceil(len(titles) / columns)
    width = columns * (LEFT_IN + PANEL_IN + GUTTER_IN)
    height = TOP_IN + rows * HEIGHT_IN + (rows - 1) * GAP_IN + BOTTOM_IN
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = []
    for i, name in enumerate(titles):
        row, column = divmod(i, columns)
        left = (LEFT_IN + column * (LEFT_IN + PANEL_IN + GUTTER_IN)) / width
        bottom = (BOTTOM_IN + (rows - 1 - row) * (HEIGHT_IN + GAP_IN)) / height
        panel = figure.add_axes((left, bottom, PANEL_IN / width, HEIGHT_IN / height))
        panel.set_title(name, fontsize=9, loc="left")
        panel.grid(True, color="#e4e4e4", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        axes.append(panel)
    figure.text(0.1 / width, 1 - 0.12 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.1 / width, 0.1 / height, caption.replace("$", r"\$"), fontsize=7, color="#555555", va="bottom")
    return figure, axes


def fixed_ticks(axes: Axes, values: Sequence[float], *, axis: str, base: float | None) -> None:
    """Ticks at exactly `values`, printed as whole numbers; `base` makes the axis logarithmic."""
    if base is not None:
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log", base=base)
    target = axes.xaxis if axis == "x" else axes.yaxis
    target.set_major_locator(FixedLocator(list(values)[:: 1 + (len(values) - 1) // 16]))  # more are a black bar
    target.set_minor_locator(NullLocator())
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    if axis == "x":
        pad = (max(values) / min(values)) ** 0.05 if len(values) > 1 else 2.0
        axes.set_xlim(min(values) / pad, max(values) * pad)


def value_axis(axes: Axes, values: np.ndarray, language: Language, *, axis: str = "y", from_zero: bool = True) -> None:
    """Linear from zero for a narrow range, logarithmic with plain numbers (1, 2, 5, 10, ...) for a wide one."""
    values = values[np.isfinite(values) & (values > 0)]
    target = axes.xaxis if axis == "x" else axes.yaxis
    set_limits = axes.set_xlim if axis == "x" else axes.set_ylim
    low, high = float(values.min()), float(values.max())
    if high / low > 4:
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        low, high = low / 1.25, high * 1.25
        set_limits(low, high)
        target.set_major_locator(FixedLocator(_nice(low, high)))
        target.set_minor_locator(NullLocator())
    else:
        set_limits(0 if from_zero else low * 0.95, high * 1.08)
    target.set_major_formatter(FuncFormatter(lambda value, _: language.number(value, _tick_decimals(value))))


def _tick_decimals(value: float) -> int:
    return next((d for d in range(5) if math.isclose(value, round(value, d), rel_tol=1e-6, abs_tol=1e-12)), 5)


def _nice(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    return [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each (x, y, text, colour) at the right of the panel, moved apart where they would overlap.

    Call it when the limits are final. A thin leader joins a label to its line's last point.
    """
    if not ends:
        return
    points = axes.transAxes.inverted().transform(axes.transData.transform([(x, y) for x, y, _, _ in ends]))
    order = np.argsort(points[:, 1], kind="stable")
    gap = LABEL_PT * 1.25 / 72 / HEIGHT_IN
    steps = np.arange(len(ends)) * gap
    # the least-squares positions that keep the order and a gap: isotonic regression of what is left without the gaps
    placed = isotonic_regression(points[order, 1] - steps).x
    placed = np.clip(placed, 0.0, max(0.0, 1.0 - steps[-1])) + steps
    for position, i in zip(placed, order, strict=True):
        _, _, text, colour = ends[i]
        axes.annotate(
            text,
            xy=tuple(points[i]),
            xytext=(1.05, float(position)),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=LABEL_PT,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "linestyle": ":",
                "alpha": 0.7,
                "shrinkA": 1,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )
