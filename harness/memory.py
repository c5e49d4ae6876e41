"""Peak resident memory of this process. Standard library only: imported by workers."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # man 5 proc_pid_clear_refs


def reset_peak_rss() -> None:
    """Start a new peak from what is resident now. Only Linux can; elsewhere the peak is that of the whole process."""
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text(RESET_PEAK)


def read_peak_rss_mb() -> float:
    """Peak resident memory in MB (10**6 bytes) since the last reset."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = STATUS.read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
