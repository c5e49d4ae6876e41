"""Is the machine quiet enough to measure on? Looked at once, before the first worker starts."""

from __future__ import annotations

import time
from typing import Any

import psutil

BUSY_PERCENT = 10.0  # of one core, over the time looked at


def observe_load(seconds: float = 0.5) -> dict[str, Any]:
    """Share of all cores in use over `seconds`, and the processes that used them (name and % of one core)."""
    own = psutil.Process()
    processes = {process: _cpu_seconds(process) for process in psutil.process_iter() if process != own}
    psutil.cpu_percent()
    time.sleep(seconds)
    total = psutil.cpu_percent()
    used = {p: 100 * (_cpu_seconds(p) - before) / seconds for p, before in processes.items()}
    busy = sorted(((percent, p) for p, percent in used.items() if percent >= BUSY_PERCENT), key=lambda pair: -pair[0])
    return {
        "cpu_percent": total,
        "processes": [{"name": _name(p), "cpu_percent": round(percent)} for percent, p in busy[:5]],
    }


def describe_load(load: dict[str, Any]) -> str:
    """One line that names the disturbers; empty when the machine is quiet."""
    if not load["processes"]:
        return ""
    names = ", ".join(f"{process['name']} ({process['cpu_percent']}% of a core)" for process in load["processes"])
    return f"the machine is busy: {names}; timings will suffer"


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended, or belongs to somebody else
        return 0.0
    return times.user + times.system


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "a process that has ended"
