"""How near the machine's limits: the roofline, and every measure of load side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.layout import LABEL_PT, key, label_ends, name_axes, panels, value_axis
from analysis.figures.style import LINES, pick_contenders, styles
from analysis.language import Language
from analysis.load_facts import LOADS
from analysis.words import FIGURE_WORDS, HARDWARE_WORDS

# Colours of measures, not of approaches; the marker tells them apart without colour.
DOTS = {
    "nvml": ("#777777", "|"), "sm": ("#56B4E9", "o"), "tensor": ("#0072B2", "s"), "dram": ("#CC79A7", "^"),
    "mfu_peak": ("#D55E00", "x"), "mfu_ceiling": ("#B8860B", "+"), "roofline": ("#009E73", "D"),
}  # fmt: skip
ROW_IN, NAMES_IN, KEY_COLUMNS = 0.22, 1.9, 4
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
            ends.append((x, y, style.label, style.ink))
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
        label_ends(panel, ends)
    name_axes(figure, axes, words["flops_per_byte"], words["tflops_per_s"])
    return figure


def load_bars(table: pd.DataFrame, language: Language, caption: str) -> Figure | None:
    """NVML, SM, tensor and memory activity, MFU and roofline side by side, each contender at its best batch."""
    if "gpu_utilization_percent" not in table:
        return None
    best = _best(table, ())
    if best.empty:
        return None
    words, names = FIGURE_WORDS[language.code], HARDWARE_WORDS[language.code]
    shown = {name: column for name, column in LOADS.items() if column in best and _numbers(best[column]).notna().any()}
    groups = {size: part.sort_values("fps") for size, part in best.groupby("image_size", sort=True)}
    titles = [words["size_facet"].format(value=size) for size in groups]
    heights = [ROW_IN * (len(part) + 0.6) for part in groups.values()]
    notes, looks = f"{caption} · {_notes(table, best, words)}", styles(table)
    rows = -(-len(shown) // KEY_COLUMNS)
    figure, axes = panels(titles, words["load_bars"], notes, heights=heights, left=NAMES_IN, right=0.3, key_rows=rows)
    handles = {}
    for panel, part in zip(axes, groups.values(), strict=True):
        for name, column in shown.items():
            colour, marker = DOTS[name]
            (handles[name],) = panel.plot(
                _numbers(part[column]), np.arange(len(part)), linestyle="", marker=marker, markersize=6.5, mew=1.2,
                color=colour, mfc=colour if marker in "os^" else "none", alpha=0.85, label=names[name], clip_on=False,
            )  # fmt: skip
        panel.set_xlim(-2, 102)
        panel.set_xticks(range(0, 101, 20))
        panel.set_ylim(-0.7, len(part) - 0.3)
        panel.set_yticks(range(len(part)), [looks[contender].label for contender in part["contender"]])
        panel.tick_params(axis="y", length=0, labelsize=LABEL_PT)
    name_axes(figure, axes, "%", "")
    key(figure, axes[0], list(handles.values()), KEY_COLUMNS)
    return figure


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
    """The measured ceiling of each precision shown, TFLOP/s."""
    values = 100 * _numbers(best["tflops_per_s"]) / _numbers(best["mfu_ceiling_percent"])
    return {str(name): float(part.iloc[0]) for name, part in values.groupby(best["precision"])}
