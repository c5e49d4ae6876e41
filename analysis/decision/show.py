"""The decision on a terminal: the answer first, then what it rests on."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.decision.choice import Decision, Payback, find_margin, find_payback
from analysis.decision.needs import Limit
from analysis.decision.options import Option
from analysis.decision.relaxing import Relaxation, relax_each, relax_together, widen_each
from analysis.decision.rerun import ENGLISH, Check, describe_margin
from analysis.language import MISSING

SOURCES = {
    "validation": "validation accuracy of the fp32 weights, less what the precision loses on the reference images",
    "reference": "no training record describes these weights, so fp32 on the reference images, less what the precision "
    "loses there",
    "own": "each cell's own answers on the reference images: no training record, nor fp32 at every size",
    None: "not known: neither training records nor labelled reference images",
}


def show_decision(decision: Decision, console: Console) -> None:
    """Winner, runner-up and baseline, or what to relax; then why the others fell out."""
    if decision.winner is None:
        console.print("No configuration meets these needs.", markup=False)
        _show_relaxations(decision, console)
    else:
        _show_answer(decision, decision.winner, console)
    _show_exclusions(decision, console)
    console.print(f"Accuracy: {SOURCES[decision.accuracy_source]}.", markup=False)


def name_option(option: Option) -> str:
    """`ONNX Runtime fp32 at 224 px, batch 8`."""
    return f"{option.label} at {option.key.image_size} px, batch {option.key.batch_size}"


def _show_answer(decision: Decision, winner: Option, console: Console) -> None:
    objective, other, baseline = decision.needs.objective, decision.runner_up, decision.baseline
    console.print(f"Deploy {name_option(winner)} (best by {objective}).", markup=False)
    roles = {"winner": winner, "runner-up": other, "baseline": baseline}
    _show_table({role: option for role, option in roles.items() if option is not None}, decision, console)
    if other is None:
        console.print("Runner-up: no other approach meets the needs.", markup=False)
    for role, compared in (("runner-up", other), ("baseline", baseline)):
        if compared is not None and compared.key != winner.key:
            margin = describe_margin(find_margin(winner, compared, objective))
            console.print(f"Margin over the {role}, {objective}: {margin}.", markup=False)
            payback = find_payback(winner, compared)
            console.print(f"Build: {_payback_words(payback, role)}.", markup=False)
    for note in _notes(decision, winner):
        console.print(note, markup=False)


def _show_table(roles: dict[str, Option], decision: Decision, console: Console) -> None:
    """One line per role; columns that nobody has a number for are left out, and CPU memory beside a GPU's."""
    lines = {role: _cells(option) for role, option in roles.items()}
    table = Table(caption="intervals: 95%, with the spread between processes", caption_justify="left")
    table.add_column("")
    shown = [
        name for name in next(iter(lines.values())) if any(line[name] not in (MISSING, "0") for line in lines.values())
    ]
    if "GPU MB" in shown and decision.needs.max_cpu_memory_mb is None:
        shown.remove("CPU MB")
    for name in shown:
        table.add_column(name, justify="left" if name == "approach" else "right")
    for role, line in lines.items():
        table.add_row(role, *(escape(line[name]) for name in shown))
    console.print(table)


def _cells(option: Option) -> dict[str, str]:
    number, key = ENGLISH.number, option.key
    return {
        "approach": option.label + (" (unstable)" if option.cell.status == "unstable" else ""),
        "px": str(key.image_size),
        "batch": str(key.batch_size),
        "images/s": f"{number(option.fps)} {ENGLISH.interval(*option.interval('fps'))}",
        "ms a call": f"{number(option.host_ms)} {ENGLISH.interval(*option.interval('host_ms'))}",
        "J/image": number(option.energy),
        "accuracy": ENGLISH.percent(option.accuracy),
        "GPU MB": number(option.gpu_memory_mb),
        "CPU MB": number(option.cpu_memory_mb),
        "build s": number(option.build_s),
    }


def _payback_words(payback: Payback | None, role: str) -> str:
    if payback is None:
        return f"no longer than the {role}'s"
    longer = f"{ENGLISH.number(payback.extra_s)} s longer than the {role}'s"
    if math.isinf(payback.images):
        return f"{longer}, and never paid for: an image takes no less time"
    low, high = payback.interval
    ends = f"[{ENGLISH.number(low, 0)}, {'never' if math.isinf(high) else ENGLISH.number(high, 0)}]"
    return (
        f"{longer}; paid for after {ENGLISH.number(math.ceil(payback.images), 0)} images {ends}, "
        f"{ENGLISH.number(payback.seconds)} s from the start of the build"
    )


def _notes(decision: Decision, winner: Option) -> list[str]:
    notes, needs = [], decision.needs
    lighter = decision.lighter
    if lighter is not None:
        share = (lighter.value(needs.objective) or math.nan) / (winner.value(needs.objective) or math.nan)
        notes.append(
            f"Batch {lighter.key.batch_size} of the same has {ENGLISH.percent(share)} of its {needs.objective}, at "
            f"{ENGLISH.number(lighter.host_ms)} ms a call."
        )
    sizes = {option.key.image_size for option in decision.eligible}
    if needs.min_accuracy is None and len(sizes) > 1 and needs.objective != "energy":
        notes.append("No --min_accuracy was given: among image sizes, speed alone decided.")
    for limit in needs.limits:
        if limit.flag == "max_host_ms":
            low, high = winner.interval("host_ms")
            if low <= limit.value <= high:
                notes.append(
                    f"--{limit.flag} {limit.value:g} lies within the interval of the winner's own: it may miss it."
                )
    images = winner.parity_images
    if images and winner.key.precision != "fp32" and 1 / images > needs.max_accuracy_drop:
        notes.append(
            f"One of {images} reference images is {ENGLISH.percent(1 / images)}, more than --max_accuracy_drop: "
            "measure with more --reference_images to tell."
        )
    return notes


def _show_exclusions(decision: Decision, console: Console) -> None:
    cells, fit = len(decision.options) + sum(decision.unranked.values()), len(decision.eligible)
    table = _make_exclusions(decision)
    others = " The others:" if table.row_count else ""
    console.print(
        f"{ENGLISH.plural(cells, 'cell', 'cells')}, {fit} {'meets' if fit == 1 else 'meet'} the needs.{others}",
        markup=False,
    )
    if table.row_count:
        console.print(table)


def _make_exclusions(decision: Decision) -> Table:
    table = Table()
    for name in ("out by", "cells", "by this alone", "not recorded"):
        table.add_column(name, justify="left" if name == "out by" else "right")
    for flag, count in sorted(decision.outside.items()):
        table.add_row(f"--{flag} (not asked for)", str(count), "", "")
    for exclusion in decision.exclusions:
        if exclusion.cells:
            numbers = (exclusion.cells, exclusion.alone, exclusion.unknown)
            table.add_row(describe_limit(exclusion.limit, exclusion.limit.value), *map(str, numbers))
    if decision.unrecorded:
        table.add_row(f"no {decision.needs.objective} recorded", str(decision.unrecorded), "", "")
    for status, count in sorted(decision.unranked.items()):
        table.add_row(f"no time: {status}", str(count), "", "")
    return table


def describe_limit(limit: Limit, value: float) -> str:
    """`--max_host_ms 5`, a share with its percentage."""
    return f"--{limit.flag} {value:g}" + (f" ({ENGLISH.percent(value)})" if limit.is_share else "")


def _show_relaxations(decision: Decision, console: Console) -> None:
    each = relax_each(decision)
    for limit, relaxation in each.items():
        if relaxation is None:
            console.print(f"  {describe_limit(limit, limit.value)}: relaxing this alone is not enough.", markup=False)
        else:
            console.print(f"  {_relaxation_words(relaxation)}", markup=False)
    if not any(each.values()) and (together := relax_together(decision)):
        console.print(f"  Least together: {_relaxation_words(together)}", markup=False)
    for widening in widen_each(decision):
        console.print(f"  Without --{widening.flag}: {name_option(widening.option)} would do.", markup=False)


def _relaxation_words(relaxation: Relaxation) -> str:
    steps = [
        f"{describe_limit(limit, limit.value)} -> {to:g} ({_step(limit, to)})"
        for limit, to in zip(relaxation.asked, relaxation.to, strict=True)
    ]
    return f"{' and '.join(steps)} lets in {name_option(relaxation.option)}"


def _step(limit: Limit, to: float) -> str:
    if limit.is_share:
        return f"{ENGLISH.number(100 * abs(to - limit.value), 1)} points"
    share = to / limit.value - 1
    return f"{'+' if share > 0 else '-'}{ENGLISH.percent(abs(share))}"


def show_checks(checks: list[Check], run_id: str, console: Console) -> bool:
    """Print each check; answers whether all passed."""
    for check in checks:
        console.print(f"  {'yes' if check.passed else 'NO '}  {check.name}: {check.evidence}", markup=False)
    confirmed = all(check.passed for check in checks)
    console.print(f"Run {run_id} {'confirms' if confirmed else 'does not confirm'} this answer.", markup=False)
    return confirmed
