"""One question answered from start to end: decide, print, write the rerun or judge it."""

from __future__ import annotations

import shlex

from analysis.console import plain_console
from analysis.decision.choice import decide
from analysis.decision.needs import Needs
from analysis.decision.rerun import confirm, write_rerun
from analysis.decision.show import show_checks, show_decision
from analysis.decision.show_sizing import show_sizing
from analysis.decision.sizing import find_sizing
from analysis.load import Run
from analysis.study import judge


def answer(run: Run, needs: Needs, rerun: Run | None) -> int:
    """Print the decision; answers 0 when there is one (and `rerun`, where given, confirms it), else 1."""
    console, study = plain_console(), judge(run)
    decision = decide(study, needs)
    console.print(f"Run {run.run_id} on {study.device}", markup=False)
    show_decision(decision, console)
    if decision.winner is None:
        return 1
    if rerun is not None:
        return 0 if show_checks(confirm(decision, study, judge(rerun)), rerun.run_id, console) else 1
    if needs.requests_per_second is not None and needs.p99_ms is not None:
        with console.status("simulating the queue"):  # shown on a terminal only
            sizing = find_sizing(decision, needs.requests_per_second, needs.p99_ms)
        show_sizing(sizing, needs.requests_per_second, needs.p99_ms, console)
        if not sizing.plans:
            return 1
    path = write_rerun(decision, run)
    command = ["python", "-m", "harness", "--config", str(path), "--run_id", f"{run.run_id}-again"]
    console.print(f"To confirm: {shlex.join(command)}", markup=False)
    return 0
