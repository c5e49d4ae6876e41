"""The sizing on a terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.decision.rerun import ENGLISH
from analysis.decision.show import name_option
from analysis.decision.sizing import Plan, Sizing

MODEL = (
    "Simulated, not measured: requests of one image arrive at random (Poisson) and are dealt to the devices at random; "
    "each device has a queue of its own; a call takes one of its measured host_ms, images being on the device already."
)
SHOWN = 8  # plans in the table
FEW_SAMPLES = 100  # below this the 99th percentile of a call is its slowest sample


def show_sizing(sizing: Sizing, per_second: float, p99_ms: float, console: Console) -> None:
    """Devices, batch limit and delay of the best approach, and the others that need no more devices."""
    number = ENGLISH.number
    console.print(f"{number(per_second)} requests a second, 99% answered within {p99_ms:g} ms:", markup=False)
    if not sizing.plans:
        console.print(f"  No number of devices does it. {_least_words(sizing, p99_ms)}", markup=False)
        return
    best = sizing.plans[0]
    devices = ENGLISH.plural(best.devices, "device", "devices")
    console.print(f"  {devices} with {name_option(best.option)} at most, {_delay_words(best)}.", markup=False)
    _show_plans(sizing.plans[:SHOWN], per_second, console)
    for note in _notes(sizing, best):
        console.print(note, markup=False)
    console.print(MODEL, markup=False)


def _delay_words(plan: Plan) -> str:
    delay = plan.batcher.delay_ms
    return (
        f"waiting up to {ENGLISH.number(delay)} ms for company" if delay else "no delay: a free device takes what waits"
    )


def _show_plans(plans: list[Plan], per_second: float, console: Console) -> None:
    number = ENGLISH.number
    table = Table(caption="intervals: 95%, of the simulation alone", caption_justify="left")
    for name in (
        "approach",
        "px",
        "devices",
        "batch",
        "delay ms",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "mean batch",
        "of peak",
    ):
        table.add_column(name, justify="left" if name == "approach" else "right")
    for plan in plans:
        key, found = plan.option.key, plan.forecast
        table.add_row(
            escape(plan.option.label), str(key.image_size), str(plan.devices), str(plan.batcher.max_batch),
            number(plan.batcher.delay_ms), number(found.p50_ms), number(found.p90_ms),
            f"{number(found.p99_ms)} {escape(ENGLISH.interval(*found.p99_interval))}", number(found.mean_batch, 1),
            ENGLISH.percent(per_second / plan.devices / plan.peak_per_second, 0),
        )  # fmt: skip
    console.print(table)


def _notes(sizing: Sizing, best: Plan) -> list[str]:
    notes = []
    if best.devices > 1:
        fewer = f"p99 {ENGLISH.number(best.fewer.p99_ms)} ms" if best.fewer else "it cannot keep up"
        notes.append(f"With one device fewer: {fewer}.")
    peak = ENGLISH.number(best.devices * best.peak_per_second)
    notes.append(f"At most {peak} requests a second would get through these devices, at any waiting time.")
    if best.samples < FEW_SAMPLES:
        notes.append(
            f"Some batch size has only {best.samples} samples, so that its slowest calls are hardly known: measure "
            "again with more --min_samples (on a GPU --boundary_seconds)."
        )
    if len(sizing.plans) > SHOWN:
        more = ENGLISH.plural(len(sizing.plans) - SHOWN, "more approach does", "more approaches do")
        notes.append(f"{more} it with as many devices, at a longer p99.")
    if sizing.others:
        others = ENGLISH.plural(sizing.others, "other approach needs", "other approaches need")
        notes.append(f"{others} more devices or cannot do it.")
    return notes


def _least_words(sizing: Sizing, p99_ms: float) -> str:
    least = sizing.least_p99_ms
    if math.isnan(least):
        return "No host_ms was measured for what meets the other needs."
    if least <= p99_ms:
        return f"The quickest lone call takes {ENGLISH.number(least)} ms (p99), which leaves too little for waiting."
    return (
        f"A lone request on an idle device takes {ENGLISH.number(least)} ms at p99: relax --p99_ms to more than that."
    )
