"""Start a worker process, talk to it over private pipes, and say how it ended. Blocks on the pipe, never polls."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


THREAD_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# glibc: freed memory stays with the process, as in a server that has run for a while (docs/decisions/allocator.md)
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def make_environment(kind: str, threads: int) -> dict[str, str]:
    """What a child process gets besides our own environment. `kind`: cpu (it sees no GPU) or cuda."""
    # NVML counts in bus order: telemetry and child must mean the same card
    device = {"CUDA_VISIBLE_DEVICES": ""} if kind == "cpu" else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {**dict.fromkeys(THREAD_POOLS, str(threads)), **KEEP_MEMORY, **device}


class WorkerDied(Exception):  # noqa: N818 - an outcome to record, not a mistake of the caller
    """The worker ended, or did not answer in time. `status` is the row's; the message is its reason."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class WorkerProcess:
    """One `harness.worker` under `interpreter`; its stdout and stderr go to `log`.

    `environment` is added to this process's own. The worker gets a session of its own, so that Ctrl-C on the terminal
    reaches only the parent, which lets the row in progress end. Raises WorkerDied where the interpreter cannot be
    started, OSError where the log cannot be written.
    """

    def __init__(self, interpreter: str, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self.buffer = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("ab")
        commands_read, self.commands = os.pipe()
        self.replies, replies_write = os.pipe()
        search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        try:
            self.process = subprocess.Popen(
                [interpreter, "-m", "harness.worker", str(commands_read), str(replies_write)],
                env={**os.environ, "PYTHONPATH": search_path, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=(commands_read, replies_write),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self.commands)
            os.close(self.replies)
            raise WorkerDied("unavailable", f"cannot start {interpreter}: {error.strerror}") from error
        finally:
            stream.close()
            os.close(commands_read)
            os.close(replies_write)

    def ask(self, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises WorkerDied: gone, silent for `timeout_s`, or not JSON."""
        try:
            os.write(self.commands, json.dumps(command).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.replies], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.kill()
                raise WorkerDied(
                    "timeout", f"no answer within {timeout_s:g} s (`job_timeout_s`); the worker was stopped"
                )
            received = os.read(self.replies, 1 << 20)
            if not received:
                raise self._death()
            self.buffer += received
        line, _, self.buffer = self.buffer.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            self.kill()
            raise WorkerDied("crashed", f"the worker's answer is not JSON: {line[:80]!r}") from None

    def stop(self) -> None:
        """Let the worker end by closing its commands; kill it when it does not within 10 s."""
        self._close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the worker and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for name in ("commands", "replies"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def _death(self) -> WorkerDied:
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            code = None
        self.kill()
        if code is None:
            return WorkerDied("crashed", "the worker closed its pipe without an answer")
        if code == -signal.SIGKILL:
            return WorkerDied("oom", "the worker was killed by SIGKILL: the kernel does so when memory runs out")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        return WorkerDied("crashed", f"the worker was {how}" if code < 0 else f"the worker {how}")
