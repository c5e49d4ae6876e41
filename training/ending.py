"""SIGTERM and Ctrl-C: the program ends within seconds, says so in one line, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

import psutil

INTERRUPTED, TERMINATED = 130, 143  # exit statuses: 128 and the number of the signal, as shells have it
PATIENCE_S = 10.0  # for a computation that does not come back, and for tidying up

Result = TypeVar("Result")


class Terminated(BaseException):
    """SIGTERM came. No Exception: libraries that go on after an error do not go on after this."""


class _Handler:
    """The first SIGTERM raises Terminated in the main thread, and ends the process if that does not.

    Lightning's own only makes a note, for after the batch: the first may compile for minutes. It calls this one too.
    """

    def __init__(self, line: str) -> None:
        self.line, self.received = line, False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.received:  # `timeout` sends it to the process and to its group
            return
        self.received = True
        last_resort = threading.Timer(PATIENCE_S, leave, (TERMINATED, self.line))
        last_resort.daemon = True
        last_resort.start()
        raise Terminated


def run_until_ended(work: Callable[[], Result], line: str) -> Result:
    """What `work` returns. SIGTERM or Ctrl-C ends the process with `line` on stderr, and status 143 or 130.

    What `work` does on its way out (`with`, `finally`) is done first.
    """
    handler = _Handler(line)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        return work()
    except BaseException as error:
        # of a loader process that got the signal too, or of Lightning, may be the exception that arrives here
        if handler.received:
            leave(TERMINATED, line)
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
            leave(INTERRUPTED, line)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def leave(status: int, line: str) -> NoReturn:
    """End the process and all that it started, now: at a normal exit Inductor may wait 300 s for its own."""
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a DataLoader's handler raises when its processes die
        for child in psutil.Process().children(recursive=True):
            child.kill()
        print(line, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
