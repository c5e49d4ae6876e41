"""Is the machine quiet enough to measure on? Looked at once, before the first worker starts."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from typing import Any

import psutil

from harness.nvml import Gpu, NvmlAbsent

BUSY_PERCENT = 10.0  # of one core, over the time looked at; of the GPU, over the time its driver looks at
TAKEN_PERCENT = 5.0  # of the GPU's memory: more than a driver keeps for itself


def observe_load(kind: str, seconds: float = 0.5, ours: Collection[int] = ()) -> dict[str, Any]:
    """Share of all cores in use over `seconds`, and the processes that used them (name and % of one core).

    This process and those with the pids `ours` are left out. Where the run is on a GPU (`kind` cuda), also who is on
    it; see `observe_gpu`.
    """
    known = {os.getpid(), *ours}
    processes = {process: _cpu_seconds(process) for process in psutil.process_iter() if process.pid not in known}
    psutil.cpu_percent()
    time.sleep(seconds)
    total = psutil.cpu_percent()
    used = {p: 100 * (_cpu_seconds(p) - before) / seconds for p, before in processes.items()}
    busy = sorted(((percent, p) for p, percent in used.items() if percent >= BUSY_PERCENT), key=lambda pair: -pair[0])
    return {
        "cpu_percent": total,
        "processes": [{"name": _name(p), "cpu_percent": round(percent)} for percent, p in busy[:5]],
        "gpu": observe_gpu() if kind == "cuda" else None,
    }


def observe_gpu() -> dict[str, Any] | None:
    """Utilisation of the GPU, its memory in use, and the names of compute processes on it; None without a GPU.

    A process of another container is not listed; it shows in the memory and the utilisation.
    """
    try:
        gpu = Gpu()
    except NvmlAbsent:
        return None
    try:
        rates, memory = gpu.read("nvmlDeviceGetUtilizationRates"), gpu.read("nvmlDeviceGetMemoryInfo")
        return {
            "utilization_percent": rates.gpu if rates else None,
            "memory_used_percent": 100 * memory.used / memory.total if memory else None,
            "processes": [gpu.process_name(pid) or f"process {pid}" for pid in gpu.processes() or ()],
        }
    finally:
        gpu.close()


def merge_loads(loads: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The busiest of several devices' loads, in the form of one: the highest shares, and the names of all processes."""
    gpus = [load["gpu"] for load in loads if load["gpu"]]
    highest = {
        name: max((gpu[name] for gpu in gpus if gpu[name] is not None), default=None)
        for name in ("utilization_percent", "memory_used_percent")
    }
    names = list(dict.fromkeys(name for gpu in gpus for name in gpu["processes"]))
    return {
        "cpu_percent": max(load["cpu_percent"] for load in loads),
        "processes": sorted((p for load in loads for p in load["processes"]), key=lambda p: -p["cpu_percent"])[:5],
        "gpu": {**highest, "processes": names} if gpus else None,
    }


def describe_load(load: dict[str, Any]) -> str:
    """One line that names the disturbers; empty when the machine is quiet."""
    signs = [f"{process['name']} ({process['cpu_percent']}% of a core)" for process in load["processes"]]
    gpu = load["gpu"] or {"utilization_percent": None, "memory_used_percent": None, "processes": []}
    signs += [f"{name} (on the GPU)" for name in gpu["processes"]]
    if (gpu["utilization_percent"] or 0) >= BUSY_PERCENT:
        signs.append(f"GPU utilisation {gpu['utilization_percent']}%")
    if (gpu["memory_used_percent"] or 0) >= TAKEN_PERCENT and not gpu["processes"]:
        signs.append(f"{gpu['memory_used_percent']:.0f}% of the GPU's memory is taken")
    return f"the machine is busy: {', '.join(signs)}; timings will suffer" if signs else ""


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
