"""Whether processes that a test has started, or their children, are still there."""

import time
from contextlib import suppress

import psutil


def running(processes, timeout_s):
    """Those left after `timeout_s`; an ended orphan stays a zombie where PID 1 reaps none, as in many containers."""
    deadline = time.monotonic() + timeout_s
    while (left := [process for process in processes if runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def runs(process):
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
