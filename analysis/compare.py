"""Two runs, cell by cell: is the second one slower, and is the difference real?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from analysis import stats
from analysis.cells import Cell, Key, build_cells, ratio_interval
from analysis.console import plain_console
from analysis.language import Language
from analysis.load import InputError, Run
from analysis.names import contender_label, name_runs


@dataclass(frozen=True)
class Comparison:
    """One cell of both runs. `ratio` is time in B over time in A: above 1 B is slower.

    `verdict` speaks of B: faster, slower, tie, unknown (no interval) or not comparable (then `reason` says why).
    `regression`: the whole interval lies above the slowdown that is let pass.
    """

    key: Key
    verdict: str
    reason: str = ""
    ratio: float = float("nan")
    interval: stats.Interval = stats.NO_INTERVAL
    regression: bool = False


def parse_percent(text: str, flag: str) -> float:
    """`3%` or `3` as 0.03. Raises InputError for anything that is no percentage of zero or more."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{flag}: {text!r} is not a percentage; write for example 3%")
    return value / 100


def compare_runs(a: Run, b: Run, max_slowdown: float) -> int:
    """Print every cell's verdict; answers 1 when a slowdown beyond the limit is real, 0 otherwise."""
    found = compare_cells(a, b, max_slowdown)
    _print(found, a, b, max_slowdown)
    return 1 if any(cell.regression for cell in found) else 0


def compare_cells(a: Run, b: Run, max_slowdown: float) -> list[Comparison]:
    """All cells of either run, sorted."""
    before, after = (build_cells(run.rows) for run in (a, b))
    machines = _device(a), _device(b)
    return [_compare(key, before, after, machines, max_slowdown) for key in sorted({*before, *after})]


def _device(run: Run) -> str:
    return str(run.machine.get("device") or "")


def _compare(
    key: Key, before: dict[Key, Cell], after: dict[Key, Cell], machines: tuple[str, str], limit: float
) -> Comparison:
    if key not in before or key not in after:
        precisions = _other_precisions(key, after if key in before else before)
        missing = "B" if key in before else "A"
        return Comparison(
            key, "not comparable", f"precision: {missing} has {precisions}" if precisions else f"not in {missing}"
        )
    first, second = before[key], after[key]
    reason = _difference(first, second, machines)
    if reason:
        return Comparison(key, "not comparable", reason)
    low, high = ratio_interval(second, first)
    ratio = second.mean_ms / first.mean_ms
    verdict = {"faster": "slower", "slower": "faster"}.get(v := stats.verdict((low, high)), v)
    return Comparison(key, verdict, "", ratio, (low, high), regression=low > 1 + limit)


def _other_precisions(key: Key, cells: dict[Key, Cell]) -> str:
    same = (other for other in cells if other.of(other.backend, other.variant, key.precision) == key)
    return ", ".join(sorted(other.precision for other in same))


def _difference(a: Cell, b: Cell, machines: tuple[str, str]) -> str:
    """Why two cells cannot be compared; empty when they can."""
    for name, cell in (("A", a), ("B", b)):
        if not cell.ranked:
            return f"{cell.status} in {name}: {cell.reason}"
    first, second = a.rows[-1], b.rows[-1]
    pairs = {
        "network": (first.arch, second.arch),
        "machine": (machines[0] or first.device, machines[1] or second.device),
        "clock": (first.clock, second.clock),
        "weights": (first.weights_sha256 or "", second.weights_sha256 or ""),
    }
    for name, (left, right) in pairs.items():
        if left != right:
            short = (left[:12] or "none", right[:12] or "none") if name == "weights" else (left, right)
            return f"{name}: {short[0]} against {short[1]}"
    return ""


def _print(found: list[Comparison], a: Run, b: Run, limit: float) -> None:
    console, language = plain_console(), Language("en")
    before, after = name_runs((a, b))
    table = Table(title=escape(f"Time in {after} over time in {before}"), title_justify="left")
    for name in ("px", "batch", "approach", "ratio", f"{stats.RATIO_CONFIDENCE:.0%} interval", "verdict"):
        table.add_column(name, justify="left" if name in ("approach", "verdict") else "right")
    for cell in found:
        key = cell.key
        verdict = f"{cell.verdict}{f': {cell.reason}' if cell.reason else ''}"
        if cell.regression:
            verdict += f", beyond {limit:.3g}".replace(f"{limit:.3g}", language.percent(limit))
        label = contender_label(key.backend, key.variant, key.precision)
        table.add_row(
            str(key.image_size), str(key.batch_size), escape(label), language.number(cell.ratio, 3),
            language.interval(*cell.interval, 3), escape(verdict),
        )  # fmt: skip
    console.print(table)
    worse = sum(cell.regression for cell in found)
    compared = sum(cell.verdict != "not comparable" for cell in found)
    console.print(
        f"{language.plural(compared, 'cell', 'cells')} compared, {worse} slower by more than {language.percent(limit)}."
    )
