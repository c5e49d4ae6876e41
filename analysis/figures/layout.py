"""The page of every figure: panels one below the other, axes named and ticked, labels at the ends of lines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.optimize import isotonic_regression

from analysis.language import Language

LABEL_PT, AXIS_PT = 7.5, 8.0
# Panels stand one below the other: the page is 8.2 in wide, so that text is legible at 800 px and on paper.
LEFT_IN, PANEL_IN, GUTTER_IN, MARGIN_IN = 0.75, 5.35, 2.1, 0.05
HEIGHT_IN, LONE_HEIGHT_IN = 2.05, 3.4
TOP_IN, BOTTOM_IN, GAP_IN, LINE_IN = 0.62, 0.55, 0.5, 0.135
CAPTION_CHARACTERS = 128
DPI = 160  # of the PNG files, and so of what is measured: hinting makes the letters of each resolution differ in width


def panels(
    titles: Sequence[str],
    title: str,
    caption: str,
    *,
    heights: Sequence[float] | None = None,
    left: float = LEFT_IN,
    right: float = GUTTER_IN,
    key_rows: int = 0,
) -> tuple[Figure, list[Axes]]:
    """A figure with one axes per title, one below the other; `left` and `right` of each is room for names.

    `heights` of the axes in inches; `key_rows` lines are kept free for a key above them. The caption is wrapped.
    name_axes() makes more room at the sides where the names need it.
    """
    if heights is None:
        heights = [HEIGHT_IN if len(titles) > 1 else LONE_HEIGHT_IN] * len(titles)
    lines = textwrap.wrap(caption, CAPTION_CHARACTERS)
    width, top = LEFT_IN + PANEL_IN + GUTTER_IN, TOP_IN + key_rows * 1.2 * LINE_IN - (0 if titles[0] else 0.2)
    height = top + sum(heights) + (len(titles) - 1) * GAP_IN + BOTTOM_IN + len(lines) * LINE_IN
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes, above = [], top
    for name, tall in zip(titles, heights, strict=True):
        box = (left / width, 1 - (above + tall) / height, (width - left - right) / width, tall / height)
        panel = figure.add_axes(box)
        panel.set_title(name, fontsize=9, loc="left")
        panel.grid(True, color="#e4e4e4", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=AXIS_PT)
        panel.spines[["top", "right"]].set_visible(False)
        axes.append(panel)
        above += tall + GAP_IN
    figure.text(0.1 / width, 1 - 0.1 / height, title, fontsize=11, fontweight="bold", va="top")
    note = "\n".join(lines).replace("$", r"\$")
    figure.text(0.1 / width, 0.08 / height, note, fontsize=LABEL_PT, color="#555555", va="bottom")
    return figure, axes


def name_axes(figure: Figure, axes: Sequence[Axes], x: str, y: str) -> None:
    """The name of x below the last panel, that of y once for all of them; call it when every other name is written."""
    axes[-1].set_xlabel(x, fontsize=AXIS_PT)
    top, bottom = axes[0].get_position().y1, axes[-1].get_position().y0
    at = 0.12 / figure.get_figwidth()
    name = figure.text(at, (top + bottom) / 2, y, fontsize=AXIS_PT, rotation=90, ha="center", va="center")
    _make_room(figure, axes, name.get_window_extent().x1)


def _make_room(figure: Figure, axes: Sequence[Axes], left: float) -> None:
    """Narrow the panels until what is drawn beside them lies between `left` (pixels) and the page's right edge."""
    margin, inks = MARGIN_IN * figure.dpi, [ink for panel in axes if (ink := panel.get_tightbbox()) is not None]
    before = max(0.0, left + margin - min(ink.x0 for ink in inks)) / figure.bbox.width
    behind = max(0.0, max(ink.x1 for ink in inks) + margin - figure.bbox.width) / figure.bbox.width
    for panel in axes:
        x, y, width, height = panel.get_position().bounds
        panel.set_position((x + before, y, width - before - behind, height))


def key(figure: Figure, axes: Axes, handles: Sequence[Any], columns: int) -> None:
    """A key above the first panel, further to the left if it must; panels() keeps `key_rows` free for it."""
    lift = (0.3 if axes.get_title(loc="left") else 0.08) / figure.get_figheight()
    x, y = axes.get_position().x0, axes.get_position().y1 + lift
    drawn = figure.legend(
        handles=list(handles), fontsize=LABEL_PT, frameon=False, loc="lower left", bbox_to_anchor=(x, y), ncols=columns,
        borderaxespad=0, borderpad=0, handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip
    room = 1 - (drawn.get_window_extent().width + MARGIN_IN * figure.dpi) / figure.bbox.width
    drawn.set_bbox_to_anchor((min(x, room), y), figure.transFigure)


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
    """Write each (x, y, text, ink) at the right of the panel, moved apart where they would overlap.

    Call it when the limits are final. A thin leader joins a label to its line's last point.
    """
    if not ends:
        return
    height_in = axes.get_window_extent().height / axes.figure.dpi
    points = axes.transAxes.inverted().transform(axes.transData.transform([(x, y) for x, y, _, _ in ends]))
    order = np.argsort(points[:, 1], kind="stable")
    gap = LABEL_PT * 1.25 / 72 / height_in
    steps = np.arange(len(ends)) * gap
    # the least-squares positions that keep the order and a gap: isotonic regression of what is left without the gaps
    placed = isotonic_regression(points[order, 1] - steps).x
    placed = np.clip(placed, 0.0, max(0.0, 1.0 - steps[-1])) + steps
    for position, i in zip(placed, order, strict=True):
        _, _, text, ink = ends[i]
        axes.annotate(
            text,
            xy=tuple(points[i]),
            xytext=(1.04, float(position)),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=LABEL_PT,
            color=ink,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": ink,
                "linewidth": 0.6,
                "linestyle": ":",
                "alpha": 0.7,
                "shrinkA": 1,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )
