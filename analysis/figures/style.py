"""The look of every figure: a colour per approach, a line per precision, a marker per variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.colors import to_hex, to_rgb

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


@dataclass(frozen=True)
class Style:
    """How one contender is drawn."""

    label: str
    colour: str
    line: Any
    marker: str

    @property
    def ink(self) -> str:
        """The colour, darker: for text on white."""
        red, green, blue = to_rgb(self.colour)
        return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))


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
