"""What machine this is: read by the parent without torch, kept in machine.json."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)


def describe_machine(device: str) -> dict[str, Any]:
    """Name and size of the CPU and of the first NVIDIA GPU, if any. `device`: auto, cpu or cuda.

    Raises ValueError when `device` is cuda and the NVIDIA driver is not here.
    """
    cpu, gpu = describe_cpu(), describe_gpu()
    if device == "cuda" and gpu is None:
        raise ValueError("--device cuda: no NVIDIA driver answers on this machine; use --device cpu")
    kind = device if device != "auto" else "cuda" if gpu else "cpu"
    return {
        "device": gpu["name"] if gpu and kind == "cuda" else cpu["name"],
        "kind": kind,
        "cpu": cpu,
        "gpu": gpu,
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe_cpu() -> dict[str, Any]:
    """Model name, cores this process may use, and the instruction sets that decide which kernels can run."""
    info = read_cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "name": info.get("model name") or platform.processor() or platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": count_usable_cores(),
        "features": [name for name in CPU_FEATURES if name in flags],
    }


def read_cpuinfo() -> dict[str, str]:
    """Fields of the first processor of Linux's /proc/cpuinfo; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def count_usable_cores() -> int:
    """Cores that this process may run on: a container or `taskset` may allow fewer than the machine has."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return min(affinity, psutil.cpu_count(logical=False) or affinity)


def describe_gpu() -> dict[str, Any] | None:
    """The first NVIDIA GPU by NVML; None without a driver."""
    try:
        import pynvml  # noqa: PLC0415 - optional: a machine without the package has no GPU telemetry, nothing more

        pynvml.nvmlInit()
    except Exception:  # no package, no driver or no permission all mean: no GPU to speak of
        return None
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return {
            "name": pynvml.nvmlDeviceGetName(handle),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "memory_mb": round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 1e6),
            "count": pynvml.nvmlDeviceGetCount(),
        }
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
