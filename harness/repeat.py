"""The same config in several runs that take turns, round by round: how far do fresh runs lie apart on this machine?

Turns, because a machine's own speed drifts over minutes: one run after the other would compare its states.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from harness.interrupt import Interrupt
from harness.run import INTERRUPTED, Request, run

RESULTS = Path("results")  # where the analysis looks unless told


def repeat(request: Request, runs: int) -> int:
    """Measure `request` as runs ID-1 to ID-`runs`; returns the exit status of the first that did not end, else 0.

    Every round of every run is measured by new worker processes. Raises ValueError and its kin for bad input, as
    `run` does.
    """
    run_id = request.run_id or datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    names = [f"{run_id}-{number}" for number in range(1, runs + 1)]
    interrupt = Interrupt()  # one for all: a signal between two turns is heard too
    interrupt.install()
    for round_ in range(1, request.config.rounds + 1):
        for name in names:
            begun = request.continue_or_replace or round_ > 1
            if interrupt.requested:
                print("Interrupted; all rows are kept. Repeat the command with --continue_or_replace true.")
                return INTERRUPTED
            turn = replace(request, run_id=name, continue_or_replace=begun, last_round=round_)
            status = run(turn, interrupt)
            if status:
                print(
                    "That continues one run alone; for all in turn, repeat the command with --continue_or_replace true."
                )
                return status
    folder = [] if request.results_dir == RESULTS else ["--results_dir", str(request.results_dir)]
    print(f"How far the runs lie apart: {shlex.join(['python', '-m', 'analysis', 'spread', *names, *folder])}")
    return 0
