"""One question answered from start to end: decide, print, write the rerun or judge it."""

from __future__ import annotations

import shlex
from pathlib import Path

from analysis.console import plain_console
from analysis.decision.choice import decide
from analysis.decision.needs import Needs
from analysis.decision.rerun import confirm, write_rerun
from analysis.decision.show import show_checks, show_decision
from analysis.decision.show_sizing import show_sizing
from analysis.decision.sizing import find_sizing
from analysis.load import Run
from analysis.study import judge

HARNESS_FOLDERS = {"--results_dir": Path("results"), "--weights_dir": Path("weights")}  # its defaults


def answer(run: Run, needs: Needs, rerun: Run | None, weights_dir: Path) -> int:
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
    console.print(f"To confirm: {shlex.join(rerun_command(path, run, weights_dir))}", markup=False)
    return 0


def rerun_command(config: Path, run: Run, weights_dir: Path) -> list[str]:
    """The harness's words for `config`, beside `run`; its folders are named where they are not the harness's own."""
    command = ["python", "-m", "harness", "--config", str(config), "--run_id", f"{run.run_id}-again"]
    folders = {"--results_dir": run.folder.parent}
    if any(weights_dir.glob("best_*.pth")):  # a folder of records alone, as beside a published run, has none to time
        folders["--weights_dir"] = weights_dir
    for flag, folder in folders.items():
        command += [flag, str(folder)] if folder != HARNESS_FOLDERS[flag] else []
    return command
