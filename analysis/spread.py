"""Repeatability: how far the times of the same cells lie apart in several runs of one config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.cells import Key, build_cells
from analysis.language import Language
from analysis.load import InputError, Run
from analysis.markdown import escape
from analysis.names import label_of, name_runs
from analysis.whole_files import write_text

ENGLISH = Language("en")


@dataclass(frozen=True)
class Spread:
    """One cell over all runs: its mean in ms (NaN without samples) and status in each."""

    key: Key
    means_ms: tuple[float, ...]
    statuses: tuple[str, ...]

    @property
    def stable(self) -> bool:
        """Whether the cell is `ok` in every run."""
        return set(self.statuses) == {"ok"}

    @property
    def percent(self) -> float:
        """(largest - smallest) / median of the means, in %; NaN unless every run has one."""
        return 100 * float(np.ptp(self.means_ms) / np.median(self.means_ms))


def find_spreads(runs: Sequence[Run]) -> list[Spread]:
    """Every cell of any run, sorted; `missing` where a run lacks it. The self-check's second measurements are left out.

    Raises InputError unless there are two runs or more, all different and of one processor and clock.
    """
    if len({run.folder.resolve() for run in runs}) < max(2, len(runs)):
        raise InputError("runs: name two different runs or more")
    first = runs[0]
    names = name_runs(runs)
    for run, name in zip(runs[1:], names[1:], strict=True):
        if _origin(run) != _origin(first):
            raise InputError(f"runs: {name} is of {_origin(run)}, {names[0]} of {_origin(first)}")
    found = [build_cells(run.rows) for run in runs]
    return [
        Spread(
            key,
            tuple(cells[key].mean_ms if key in cells else float("nan") for cells in found),
            tuple(cells[key].status if key in cells else "missing" for cells in found),
        )
        for key in sorted(set().union(*found))
    ]


def _origin(run: Run) -> str:
    return " and ".join(sorted({f"{row.device} by {row.clock}" for row in run.rows})) or "nothing: it holds no rows"


def write_spreads(spreads: Sequence[Spread], runs: Sequence[Run], limit: float, output: Path | None) -> None:
    """The Markdown document, to `output` or to standard output. `limit` is a share (0.02 is 2%)."""
    text = render_spreads(spreads, name_runs(runs), limit)
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


def render_spreads(spreads: Sequence[Spread], names: Sequence[str], limit: float) -> str:
    """Summary line, one table per contender and one per cell."""
    stable = [each for each in spreads if each.stable]
    close = sum(each.percent <= 100 * limit for each in stable)
    runs = ", ".join(map(escape, names))
    share = f" ({ENGLISH.percent(close / len(stable))})" if stable else ""
    summary = (
        f"{close} of {ENGLISH.plural(len(stable), 'cell', 'cells')}{share} that are `ok` in every run lie within "
        f"{ENGLISH.percent(limit)} of each other; {len(spreads) - len(stable)} not `ok` in some run are counted apart."
    )
    contenders, cells = _contender_table(stable), _cell_table(spreads, names)
    parts = [f"Runs: {runs}. Spread = (largest - smallest) / median of the trimmed means.", summary, contenders, cells]
    return "\n\n".join(part for part in parts if part) + "\n"


def _contender_table(stable: Sequence[Spread]) -> str:
    if not stable:
        return ""
    groups: dict[str, list[float]] = {}
    for each in stable:
        groups.setdefault(each.key.contender, []).append(each.percent)
    lines = ["| approach | cells | median spread, % | p90, % | max, % |", "|---|---:|---:|---:|---:|"]
    for contender, values in sorted(groups.items()):
        numbers = " | ".join(f"{value:.2f}" for value in np.percentile(values, [50, 90, 100]))
        lines.append(f"| {escape(label_of(contender))} | {len(values)} | {numbers} |")
    return "\n".join(lines)


def _cell_table(spreads: Sequence[Spread], names: Sequence[str]) -> str:
    heads = " | ".join(f"{escape(name)}, ms" for name in names)
    lines = [f"| px | batch | approach | {heads} | spread, % | status |", "|---:|---:|---|" + "---:|" * len(names)]
    lines[1] += "---:|---|"
    for each in spreads:
        key = each.key
        times = " | ".join(ENGLISH.number(mean, 4) for mean in each.means_ms)
        status = "ok" if each.stable else ", ".join(each.statuses)
        label = escape(label_of(key.contender))
        percent = ENGLISH.number(each.percent, 2)
        lines.append(f"| {key.image_size} | {key.batch_size} | {label} | {times} | {percent} | {escape(status)} |")
    return "\n".join(lines)
