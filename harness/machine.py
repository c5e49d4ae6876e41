"""What machine this is: read by the parent without torch, kept in machine.json."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from harness.cgroups import read_cpu_limit
from harness.nvml import Gpu, NvmlAbsent

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
    """Cores that this process may keep busy: `taskset` or a container's limit may allow fewer than the machine has."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return min(affinity, psutil.cpu_count(logical=False) or affinity, read_cpu_limit() or affinity)


def describe_gpu() -> dict[str, Any] | None:
    """The first visible NVIDIA GPU by NVML, without what would identify the very card; None where no GPU answers.

    Clocks and the power limit are the highest that are allowed now; what the driver does not tell is left out.
    """
    try:
        gpu = Gpu()
    except NvmlAbsent:
        return None
    nvml = gpu.nvml
    try:
        memory = gpu.read("nvmlDeviceGetMemoryInfo")
        capability = gpu.read("nvmlDeviceGetCudaComputeCapability")
        limit_mw = gpu.read("nvmlDeviceGetEnforcedPowerLimit")
        mig = gpu.read("nvmlDeviceGetMigMode")
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()  # 13010 for 13.1
        found = {
            "name": gpu.read("nvmlDeviceGetName"),
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "cuda_driver": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "count": nvml.nvmlDeviceGetCount(),
            "memory_mb": round(memory.total / 1e6) if memory else None,
            "compute_capability": f"{capability[0]}.{capability[1]}" if capability else None,
            "power_limit_w": limit_mw / 1000 if limit_mw else None,
            "max_sm_clock_mhz": gpu.read("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            "max_memory_clock_mhz": gpu.read("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_MEM),
            "pcie_generation": gpu.read("nvmlDeviceGetMaxPcieLinkGeneration"),
            "pcie_width": gpu.read("nvmlDeviceGetMaxPcieLinkWidth"),
            "mig": bool(mig[0]) if mig else None,
        }
        return {name: value for name, value in found.items() if value is not None}
    finally:
        gpu.close()
