"""How near the machine's limits: the roofline, and every measure of load side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import LABEL_PT, LINES, label_ends, panels, pick_contenders, styles, value_axis
from analysis.language import Language
from analysis.load_facts import LOADS
from analysis.words import FIGURE_WORDS, HARDWARE_WORDS

BAR_COLOURS = ("#999999", "#56B4E9", "#0072B2", "#CC79A7", "#D55E00", "#E69F00", "#009E73")
Ends = list[tuple[float, float, str, str]]


def roofline(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """TFLOP/s over arithmetic intensity, a panel per image size, each contender at its best batch under its ceiling."""
    best = _best(table, ("flops_per_byte", "tflops_per_s", "mfu_ceiling_percent"))
    if best.empty:
        return None
    words, looks = FIGURE_WORDS[language.code], styles(table)
    sizes = sorted(set(best["image_size"]))
    titles = [words["size_facet"].format(value=size) for size in sizes]
    notes = f"{caption} · {_notes(table, best, words)} · {words['memory_roof']}"
    figure, axes = panels(titles, words["roofline"], notes)
    for panel, size in zip(axes, sizes, strict=True):
        here = best[best["image_size"] == size]
        ends: Ends = []
        for line in here.to_dict("records"):
            style, x, y = looks[line["contender"]], line["flops_per_byte"], line["tflops_per_s"]
            panel.scatter(x, y, s=26, marker=style.marker, color=style.colour, zorder=3)
            ends.append((x, y, style.label, style.colour))
        ceilings = _ceilings(here)
        intensity = here["flops_per_byte"].to_numpy(float)
        left, right = intensity.min() / 4, intensity.max() * 1.6
        for precision, tflops in ceilings.items():
            panel.axhline(tflops, color="#777777", linewidth=1, linestyle=LINES[precision], zorder=1)
            ends.append((right, tflops, words["ceiling"].format(precision=precision), "#777777"))
        roof = float(_numbers(here["memory_roof_tflops_per_s"]).iloc[0]) / intensity[0]  # TFLOP/s for each FLOP/byte
        top = max(ceilings.values())
        meets = min(top / roof, right)
        panel.plot([left, meets], [left * roof, meets * roof], color="#777777", linewidth=1, zorder=1)
        value_axis(panel, np.array([*here["tflops_per_s"], left * roof, top], dtype=float), language)
        value_axis(panel, np.array([left, right]), language, axis="x")
        panel.set_xlim(left, right)
        panel.set_xlabel(words["flops_per_byte"], fontsize=8)
        panel.set_ylabel(words["tflops_per_s"], fontsize=8)
        label_ends(panel, ends)
    return figure


def load_bars(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """NVML, SM, tensor and memory activity, MFU and roofline side by side, each contender at its best batch."""
    if "gpu_utilization_percent" not in table:
        return None
    best = _best(table, ("gpu_utilization_percent",))
    if best.empty:
        return None
    words, names = FIGURE_WORDS[language.code], HARDWARE_WORDS[language.code]
    shown = {name: column for name, column in LOADS.items() if column in best and _numbers(best[column]).notna().any()}
    sizes = sorted(set(best["image_size"]))
    titles = [words["size_facet"].format(value=size) for size in sizes]
    figure, axes = panels(titles, words["load_bars"], f"{caption} · {_notes(table, best, words)}")
    for panel, size in zip(axes, sizes, strict=True):
        here = best[best["image_size"] == size].sort_values("fps")
        height = 0.68 / len(shown)
        for i, (name, column) in enumerate(shown.items()):
            at = np.arange(len(here)) + 0.2 - (i + 0.5) * height
            colour = BAR_COLOURS[list(LOADS).index(name)]
            panel.barh(at, _numbers(here[column]).fillna(0), height, color=colour, label=names[name])
        _name_bars(panel, [styles(table)[contender].label for contender in here["contender"]])
    axes[0].legend(fontsize=LABEL_PT, frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _name_bars(axes: Axes, labels: list[str]) -> None:
    """Names inside the panel, above each group: the margin is too narrow for them."""
    axes.set_xlim(0, 105)
    axes.set_ylim(-0.55, len(labels) - 0.45)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    for i, label in enumerate(labels):
        axes.text(0.5, i + 0.35, label, fontsize=LABEL_PT, va="center", ha="left")
    axes.set_xlabel("%", fontsize=8)


def _best(table: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """The shown contenders at their best batch per image size, where all `needed` columns are known."""
    data = table[table["ranked"].astype(bool)]
    for name in needed:
        data = data[_numbers(data[name]).notna()]
    if data.empty:
        return data
    data = data[data["contender"].isin(pick_contenders(data))]
    best: pd.DataFrame = data.loc[data.groupby(["contender", "image_size"])["fps"].idxmax()]
    return best


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce")


def _notes(table: pd.DataFrame, best: pd.DataFrame, words: dict[str, str]) -> str:
    everyone = table[table["ranked"].astype(bool)]["contender"].nunique()
    return " · ".join([words["best_batch"], *([words["fewer"]] if best["contender"].nunique() < everyone else [])])


def _ceilings(best: pd.DataFrame) -> dict[str, float]:
    """The measured matrix product of each precision shown, TFLOP/s."""
    values = 100 * _numbers(best["tflops_per_s"]) / _numbers(best["mfu_ceiling_percent"])
    return {str(name): float(part.iloc[0]) for name, part in values.groupby(best["precision"])}
