"""Lines over image size and over batch size: summary table in, Figure out; None when nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.layout import fixed_ticks, label_ends, name_axes, panels, value_axis
from analysis.figures.style import Style, pick_contenders, styles
from analysis.language import Language
from analysis.saturation import saturation_batch
from analysis.stats import CONFIDENCE, RATIO_CONFIDENCE
from analysis.words import FIGURE_WORDS

MOST_BATCH_PANELS = 4
WIDEST_BAR = 2.0  # how far beyond the points, as a ratio, an error bar may stretch the axis
MEMORY = ("gpu_process_memory_mb", "gpu_memory_mb", "cpu_memory_mb")


@dataclass(frozen=True)
class Plot:
    """What a figure shows: columns of the summary for x, y, its interval, and the facets (empty: one panel)."""

    title: str
    x: str
    y: str
    facet: str
    low: str | None = None
    high: str | None = None
    ticks: tuple[int, ...] = ()  # every value of x in the figure, also where y is unknown; filled in when it is drawn


def fps_vs_size(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Images per second over image size, one panel per batch (four at most), with the 1/size^2 law for comparison."""
    if _has_one_size(table):
        return None
    return _draw(
        table, Plot("fps_vs_size", "image_size", "fps", "batch_size", "fps_low", "fps_high"), language, caption
    )


def pixels_vs_size(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Megapixels per second over image size, each contender at its best batch: level under the pixel-count law."""
    if _has_one_size(table):
        return None
    ranked = table[table["ranked"].astype(bool)]
    best = ranked.loc[ranked.groupby(["contender", "image_size"])["fps"].idxmax()].copy()
    for end in ("", "_low", "_high"):
        best[f"pixel_rate{end}"] = pd.to_numeric(best[f"fps{end}"]) * best["image_size"] ** 2 / 1e6
    plot = Plot("pixels_vs_size", "image_size", "pixel_rate", "", "pixel_rate_low", "pixel_rate_high")
    return _draw(best, plot, language, caption, everything=table)


def fps_vs_batch(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Images per second over batch size, one panel per image size."""
    return _draw(
        table, Plot("fps_vs_batch", "batch_size", "fps", "image_size", "fps_low", "fps_high"), language, caption
    )


def speedup_vs_size(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Speedup over the baseline at the same batch, over image size, one panel per batch (four at most)."""
    if _has_one_size(table):
        return None
    plot = Plot("speedup_vs_size", "image_size", "speedup", "batch_size", "speedup_low", "speedup_high")
    return _draw(table[table["verdict"] != "baseline"], plot, language, caption, everything=table)


def speedup_vs_batch(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Speedup over the baseline at the same batch, over batch size, one panel per image size."""
    plot = Plot("speedup_vs_batch", "batch_size", "speedup", "image_size", "speedup_low", "speedup_high")
    return _draw(table[table["verdict"] != "baseline"], plot, language, caption, everything=table)


def time_vs_batch(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Milliseconds per image over batch size, one panel per image size."""
    plot = Plot("time_vs_batch", "batch_size", "ms_per_image", "image_size", "ms_per_image_low", "ms_per_image_high")
    return _draw(table, plot, language, caption)


def memory_vs_batch(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Peak memory over batch size: of the process on the GPU, else of its allocator, else of the worker process."""
    known = [name for name in MEMORY if name in table and pd.to_numeric(table[name]).notna().any()]
    column = known[0] if known else MEMORY[-1]
    return _draw(table, Plot("memory_vs_batch", "batch_size", column, "image_size"), language, caption)


def energy_vs_batch(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """Joules per image over batch size, one panel per image size, where the card counts its energy."""
    if "energy_j_per_image" not in table:
        return None
    return _draw(table, Plot("energy_vs_batch", "batch_size", "energy_j_per_image", "image_size"), language, caption)


def _has_one_size(table: pd.DataFrame) -> bool:
    """Whether nothing can be said over image size: what was measured has one, or none."""
    return bool(table.loc[table["ranked"].astype(bool), "image_size"].nunique() < 2)


def _draw(
    table: pd.DataFrame, plot: Plot, language: Language, caption: str, everything: pd.DataFrame | None = None
) -> Figure | None:
    words = FIGURE_WORDS[language.code]
    ranked = table[table["ranked"].astype(bool)].copy()
    ranked[plot.y] = pd.to_numeric(ranked[plot.y])
    data = ranked[ranked[plot.y].notna()]
    if data.empty:
        return None
    everyone, shown = set(data["contender"]), pick_contenders(data)
    data = data[data["contender"].isin(shown)]
    facets = _facets(data, plot, words)
    hollow = "hollow_tie" if plot.y == "speedup" else "hollow_unstable"
    notes = [words["bars"].format(level=round(100 * _confidence(plot)))] if plot.low else []
    notes += [words["ring"]] if plot.title == "fps_vs_batch" else []
    notes += [words["fewer"]] if len(shown) < len(everyone) else []
    notes += [words[hollow]] if _hollow(data, plot).any() else []
    figure, axes = panels(list(facets), words[plot.title], " · ".join([caption, *notes]))
    looks = styles(table if everything is None else everything)
    measured = ranked.loc[ranked["contender"].isin(shown), plot.x]
    plot = replace(plot, ticks=tuple(sorted(int(value) for value in set(measured))))
    for panel, part in zip(axes, facets.values(), strict=True):
        _panel(panel, part, plot, language, looks)
    name_axes(figure, axes, words[plot.x], words[plot.y])
    return figure


def _facets(data: pd.DataFrame, plot: Plot, words: dict[str, str]) -> dict[str, pd.DataFrame]:
    """The data of each panel, by its title; one panel of everything where the plot has no facet."""
    if not plot.facet:
        return {words["best_batch"]: data}
    name = words["size_facet" if plot.facet == "image_size" else "batch_facet"]
    return {name.format(value=value): data[data[plot.facet] == value] for value in _facet_values(data, plot)}


def _confidence(plot: Plot) -> float:
    return RATIO_CONFIDENCE if plot.y == "speedup" else CONFIDENCE


def _facet_values(data: pd.DataFrame, plot: Plot) -> list[int]:
    """All image sizes; of batches, at most four from the smallest to the largest, those with most points preferred."""
    values = sorted(int(value) for value in set(data[plot.facet]))
    if plot.facet == "image_size" or len(values) <= MOST_BATCH_PANELS:
        return values
    picked = np.linspace(0, len(values) - 1, MOST_BATCH_PANELS).round().astype(int)
    return [values[i] for i in picked]


def _hollow(data: pd.DataFrame, plot: Plot) -> pd.Series:
    return data["verdict"].isin(["tie", "unknown"]) if plot.y == "speedup" else data["status"] == "unstable"


def _panel(axes: Axes, data: pd.DataFrame, plot: Plot, language: Language, looks: dict) -> None:
    words, ticks = FIGURE_WORDS[language.code], plot.ticks
    ends = [
        _line(axes, part, plot, looks[contender], ticks) for contender, part in data.groupby("contender", sort=True)
    ]
    fixed_ticks(axes, ticks, axis="x", base=2)
    shown = [data[plot.y].to_numpy(float)]
    if plot.y == "speedup":
        axes.axhline(1.0, color="#888888", linewidth=1, zorder=1)
        shown.append(np.ones(1))
    if plot.title == "fps_vs_size" and len(ticks) > 1:
        ends.append(_pixel_law(axes, data, ticks, words["pixel_law"]))
        shown.append(np.array([ends[-1][1]]))
    if plot.low and plot.high:  # whole bars, unless they would dwarf the points
        low, high = (pd.to_numeric(data[end]).to_numpy(float) for end in (plot.low, plot.high))
        y = data[plot.y].to_numpy(float)
        shown += [np.maximum(low, y.min() / WIDEST_BAR), np.minimum(high, y.max() * WIDEST_BAR)]
    value_axis(axes, np.concatenate(shown), language)
    label_ends(axes, ends)


def _line(
    axes: Axes, part: pd.DataFrame, plot: Plot, style: Style, ticks: Sequence[float]
) -> tuple[float, float, str, str]:
    whole = part.set_index(plot.x).reindex(ticks)  # a missing cell breaks the line instead of being drawn through
    y = whole[plot.y].to_numpy(float)
    colour, marker = style.colour, style.marker
    axes.plot(ticks, y, color=colour, linestyle=style.line, linewidth=1.3)
    if plot.low and plot.high:
        low, high = (pd.to_numeric(whole[c]).to_numpy(float) for c in (plot.low, plot.high))
        bars = np.nan_to_num(np.clip(np.stack([y - low, high - y]), 0, None))
        axes.errorbar(ticks, y, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2)
    hollow = _hollow(part, plot).to_numpy(bool)
    x_points, y_points = part[plot.x].to_numpy(float), part[plot.y].to_numpy(float)
    for mask, face in ((hollow, "white"), (~hollow, colour)):
        axes.plot(x_points[mask], y_points[mask], linestyle="", marker=marker, markersize=4, color=colour, mfc=face)
    if plot.title == "fps_vs_batch":
        at = x_points == saturation_batch(np.sort(x_points), y_points[np.argsort(x_points)])
        axes.plot(x_points[at], y_points[at], linestyle="", marker="o", markersize=9, color=colour, mfc="none", mew=0.9)
    last = int(np.argmax(x_points))
    return float(x_points[last]), float(y_points[last]), style.label, style.ink


def _pixel_law(axes: Axes, data: pd.DataFrame, ticks: Sequence[float], label: str) -> tuple[float, float, str, str]:
    """The FPS that the first contender of the smallest size would keep if time grew with the number of pixels."""
    first = data[data["image_size"] == data["image_size"].min()]
    reference = first.loc[first["fps"].idxmin()]
    sizes = np.array([t for t in ticks if t >= reference["image_size"]], dtype=float)
    law = reference["fps"] * (reference["image_size"] / sizes) ** 2
    axes.plot(sizes, law, color="#999999", linestyle=":", linewidth=1, zorder=1)
    return float(sizes[-1]), float(law[-1]), label, "#777777"
