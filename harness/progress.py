"""What, how far, how long left: one line a row.

Never redrawn by a timer: a redrawing thread would run on the cores that are being timed.
"""

from __future__ import annotations

import statistics
import time

from rich.console import Console

from harness.plan import Group, estimate_work
from harness.schema import MEASURED, Row

SHOWN = ("measuring", "warm_up", "parity", "building", "loading", "importing", "calibrating", "idle", "other")


class Progress:
    """Counts rows against the plan on `kind` (cpu or cuda). `done` jobs were measured before (a resumed run)."""

    def __init__(self, console: Console, groups: list[Group], done: int, kind: str) -> None:
        self.console = console
        self.kind = kind
        self.count = done
        self.total = done + sum(len(group.jobs) for group in groups)
        self.work_left = sum(estimate_work(job, kind) for group in groups for job in group.jobs)
        self.work_done = 0.0
        self.start = time.monotonic()

    def show_row(self, row: Row) -> None:
        """One line a row."""
        self.count += 1
        work = estimate_work(row.job, self.kind)
        self.work_done += work
        self.work_left -= work
        left_s = (time.monotonic() - self.start) / self.work_done * max(0.0, self.work_left)
        width = len(str(self.total))
        job = f"{row.job.contender:<30} {row.job.image_size:>4} px  batch {row.job.batch_size:<4}"
        left = f"about {format_seconds(left_s)} left" if self.count < self.total else "done"
        line = f"[{self.count:>{width}}/{self.total}] {job} {describe_result(row)}  {left}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def describe_result(row: Row) -> str:
    """Median time and rate, with the interval's half-width; the reason where there is no result."""
    if row.status not in MEASURED:
        return f"{row.status}: {row.reason}"
    median = statistics.median(row.samples["device_ms"])
    half_width = row.telemetry.get("half_width_percent")
    spread = f" ±{half_width:.1f}%" if half_width is not None else ""
    note = {"ok": "", "unstable": "  unstable"}.get(row.status, f"  {row.status}: {row.reason}")
    return f"{median:>9.2f} ms {1000 * row.job.batch_size / median:>9.1f} img/s{spread}{note}"


def format_seconds(seconds: float) -> str:
    """`75` -> `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def print_time_sheet(sheet: dict[str, float], devices: int = 1) -> None:
    """Where the time of this call went, and what the parent process used of it. Times are of all `devices` together."""
    parts = ", ".join(f"{name.replace('_', ' ')} {sheet[name]:.0f} s" for name in SHOWN if sheet[name] >= 0.5)
    timed = max(sheet["measuring"] + sheet["warm_up"], 1e-9)
    needed = timed + sheet["building"] + sheet["loading"] + sheet["importing"]
    shared = (
        f" of {devices} devices together, {format_seconds(sheet['wall'] / devices)} by the clock,"
        if devices > 1
        else ""
    )
    print(f"Time: {format_seconds(sheet['wall'])}{shared} = {parts}.")
    print(
        f"That is {sheet['wall'] / timed:.2f} x the timed windows, and {sheet['wall'] / needed:.2f} x these and what "
        "backends take to be imported, loaded and built."
    )
    print(f"The parent process used {100 * sheet['parent_cpu'] / sheet['wall']:.2f}% of a core meanwhile.")
