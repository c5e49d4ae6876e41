"""The answer as a benchmark to run again, and whether such a rerun confirms it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis import stats
from analysis.cells import Key
from analysis.compare import compare_cells
from analysis.decision.choice import Decision, Margin, find_margin, missed
from analysis.decision.options import Option, build_options
from analysis.language import Language
from analysis.load import InputError, Run
from analysis.study import Study
from analysis.whole_files import write_text

ROUNDS = 5  # processes of each cell: enough for a spread of its own
ENGLISH = Language("en")


@dataclass(frozen=True)
class Check:
    """One thing that the rerun was asked, its answer and the evidence in words."""

    name: str
    passed: bool
    evidence: str


def cells_to_repeat(decision: Decision) -> list[Option]:
    """Winner, runner-up and baseline, those there are, each once."""
    found = [decision.winner, decision.runner_up, decision.baseline]
    return list({option.key: option for option in found if option is not None}.values())


def make_rerun(decision: Decision, run: Run) -> dict[str, Any]:
    """A harness config with exactly these cells: the run's own settings, several rounds, no early end of batches."""
    keys = [option.key for option in cells_to_repeat(decision)]
    return {
        **run.config,
        "backends": list(dict.fromkeys(key.contender for key in keys)),
        "image_sizes": sorted({key.image_size for key in keys}),
        "batch_sizes": sorted({key.batch_size for key in keys}),
        "only": [f"{key.contender}:{key.image_size}:{key.batch_size}" for key in keys],
        "saturation_percent": 0.0,
        "rounds": ROUNDS,
        "self_check": False,
    }


def write_rerun(decision: Decision, run: Run) -> Path:
    """Write the config as <run>/report/recommendation.yaml; answers its path."""
    path = run.folder / "report" / "recommendation.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Winner, runner-up and baseline of run {run.run_id}, to be measured again.\n"
    write_text(path, head + yaml.safe_dump(make_rerun(decision, run), sort_keys=False))
    return path


def confirm(decision: Decision, first: Study, second: Study) -> list[Check]:
    """Does the rerun say the same? Raises InputError when it lacks the winner or was made on another machine.

    Every ratio between the runs has a 99% interval that holds both runs' uncertainty; it must hold 1.
    """
    winner, other = decision.winner, decision.runner_up
    if winner is None:
        raise InputError("--confirm: nothing meets these needs, so there is nothing to confirm")
    repeated = [winner] if other is None else [winner, other]
    failed = [cell for o in repeated if (cell := second.cells.get(o.key)) is not None and not cell.ranked]
    if failed:
        return [Check(f"{cell.key.contender} runs again", False, f"{cell.status}: {cell.reason}") for cell in failed]
    _check_comparable(repeated, first.run, second.run)
    found = {option.key: option for option in build_options(second)[0]}
    return list(_checks(decision, winner, other, found))


def _checks(decision: Decision, winner: Option, other: Option | None, found: dict[Key, Option]) -> Iterator[Check]:
    objective, again = decision.needs.objective, found[winner.key]
    change = again.draws(objective) / winner.draws(objective)
    ratio = (again.value(objective) or math.nan) / (winner.value(objective) or math.nan)
    yield _agreement(f"{objective} of the winner repeats", ratio, change)
    limits = [limit for limit in decision.needs.limits if not limit.is_share]  # accuracy is no matter of time
    broken = missed(limits, again)
    words = ", ".join(f"--{limit.flag} is missed" for limit in broken)
    yield Check("the winner still meets the needs", not broken, words or "every limit is kept")
    if other is None:
        return
    before, after = find_margin(winner, other, objective), find_margin(again, found[other.key], objective)
    words = f"{describe_margin(before)} before, {describe_margin(after)} now"
    yield Check("the order holds (a tie may fall either way)", before.verdict != "faster" or after.ratio > 1, words)
    margin = change / (found[other.key].draws(objective) / other.draws(objective))
    yield _agreement("the margin repeats", after.ratio / before.ratio, margin if objective == "fps" else 1 / margin)


def describe_margin(margin: Margin) -> str:
    """`1.18x [1.15, 1.21]`, with `tie` or `no interval` where that is so."""
    note = {"tie": ", a tie", "unknown": ", no interval"}.get(margin.verdict, "")
    span = "" if margin.verdict == "unknown" else f" {ENGLISH.ratio_interval(*margin.interval)}"
    return f"{ENGLISH.times(margin.ratio)}{span}{note}"


def _agreement(name: str, ratio: float, draws: stats.Array) -> Check:
    interval = stats.percentile_interval(draws, stats.RATIO_CONFIDENCE)
    verdict = stats.verdict(interval)
    words = f"second over first {ENGLISH.times(ratio)} {ENGLISH.ratio_interval(*interval)}"
    return Check(name, verdict == "tie", words if verdict != "unknown" else "no interval: more rounds")


def _check_comparable(options: list[Option], first: Run, second: Run) -> None:
    compared = {cell.key: cell for cell in compare_cells(first, second, 0.0)}
    for option in options:
        reason = compared[option.key].reason
        if reason:
            key = option.key
            raise InputError(
                f"--confirm {second.run_id}: {option.label} at {key.image_size} px, batch {key.batch_size}: {reason} "
                f"(A is {first.run_id}); run the recommendation.yaml of these needs again"
            )
