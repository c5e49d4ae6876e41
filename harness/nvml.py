"""One NVIDIA GPU through NVML (nvidia-ml-py): a reading is None where the driver, the card or its rights refuse it."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any

# nvmlClocksEventReasons of nvml.h, by bit
CLOCK_REASONS = {
    0x1: "gpu_idle",
    0x2: "application_clocks",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake",
    0x100: "display_clock",
    0x200: "board_limit",
    0x400: "reliability",
}


class NvmlAbsent(Exception):  # noqa: N818 - the normal state of a machine without a GPU
    """No GPU answers; the message says why."""


class Gpu:
    """The first GPU that CUDA_VISIBLE_DEVICES shows. Raises NvmlAbsent: no package, no driver, or none is visible."""

    def __init__(self) -> None:
        try:
            import pynvml  # noqa: PLC0415 - optional: a machine without the package has no telemetry, nothing more
        except ImportError:
            raise NvmlAbsent("the package nvidia-ml-py is not installed") from None
        self.nvml = pynvml
        self.refused: set[str] = set()
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlAbsent(f"no NVIDIA driver answers ({error})") from None
        try:
            self.handle = self._find_handle(os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
        except (pynvml.NVMLError, NvmlAbsent) as error:
            pynvml.nvmlShutdown()
            raise NvmlAbsent(str(error)) from None

    def close(self) -> None:
        """Let go of NVML; no reading works afterwards."""
        self.nvml.nvmlShutdown()

    def read(self, name: str, *arguments: Any) -> Any | None:
        """Answer of an NVML function of the device; None where it fails. What is not supported is asked for once."""
        function = getattr(self.nvml, name, None)  # the package drops functions with the CUDA versions
        if name in self.refused or function is None:
            return None
        try:
            return function(self.handle, *arguments)
        except self.nvml.NVMLError as error:
            if error.value in (self.nvml.NVML_ERROR_NOT_SUPPORTED, self.nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                self.refused.add(name)
            return None

    def power_w(self) -> float | None:
        """Momentary board power where the driver gives it, else what NVML calls power usage (on some a 1 s mean)."""
        values = self.read("nvmlDeviceGetFieldValues", [self.nvml.NVML_FI_DEV_POWER_INSTANT])
        if values and values[0].nvmlReturn == self.nvml.NVML_SUCCESS:
            return values[0].value.uiVal / 1000
        milliwatts = self.read("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1000

    def clock_reasons(self) -> int | None:
        """Bits of CLOCK_REASONS that hold now; older drivers know them as throttle reasons."""
        found = self.read("nvmlDeviceGetCurrentClocksEventReasons")
        return self.read("nvmlDeviceGetCurrentClocksThrottleReasons") if found is None else found

    def processes(self) -> dict[int, float | None] | None:
        """MB that each compute process holds, by pid; a pid may be one of another namespace than ours."""
        listed = self.read("nvmlDeviceGetComputeRunningProcesses")
        if listed is None:
            return None
        return {p.pid: None if p.usedGpuMemory is None else p.usedGpuMemory / 1e6 for p in listed}

    def process_name(self, pid: int) -> str | None:
        """File name of a process's program, without its folder."""
        try:
            return PurePath(self.nvml.nvmlSystemGetProcessName(pid)).name
        except self.nvml.NVMLError:
            return None

    def _find_handle(self, visible: str) -> Any:
        """Handle of the first entry: an index in PCI bus order, or (the beginning of) a UUID."""
        first = visible.partition(",")[0].strip()
        if first.isdecimal():
            return self.nvml.nvmlDeviceGetHandleByIndex(int(first))
        if first.startswith("MIG-"):
            return self.nvml.nvmlDeviceGetHandleByUUID(first)
        for index in range(self.nvml.nvmlDeviceGetCount() if first else 0):
            handle = self.nvml.nvmlDeviceGetHandleByIndex(index)
            if self.nvml.nvmlDeviceGetUUID(handle).startswith(first):
                return handle
        raise NvmlAbsent(f"CUDA_VISIBLE_DEVICES={visible} shows no GPU")


def name_clock_reasons(bits: int) -> list[str]:
    """Names of the bits that are set, those unknown in hexadecimal."""
    names = [name for bit, name in CLOCK_REASONS.items() if bits & bit]
    unknown = bits & ~sum(CLOCK_REASONS)
    return [*names, hex(unknown)] if unknown else names
