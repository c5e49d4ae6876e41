"""One question answered from start to end: decide, print, write the rerun or judge it."""

from __future__ import annotations

import shlex

from analysis.console import plain_console
from analysis.decision.choice import decide
from analysis.decision.needs import Needs
from analysis.decision.rerun import confirm, write_rerun
from analysis.decision.show import show_checks, show_decision
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
    path = write_rerun(decision, run)
    command = ["python", "-m", "harness", "--config", str(path), "--run_id", f"{run.run_id}-again"]
    console.print(f"To confirm: {shlex.join(command)}", markup=False)
    return 0
