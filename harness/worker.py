"""Child process: loads one backend once, then measures the batch sizes it is asked for. Started by `harness.launch`.

JSON lines over two private pipes (stdout and stderr belong to the libraries):
  parent: {"do": "load", ...}             worker: {"event": "loaded", ...}
  parent: {"do": "measure", "batch_size"} worker: {"event": "measured", ...}
  either may be answered by {"event": "failed", "status": ..., "reason": ...}.
End of the command pipe ends the worker. Standard library and NumPy only, Python 3.10, besides the library under test.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import BACKENDS
from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob
from harness.clocks import Clock, make_clock
from harness.measure import MIN_COVERAGE, StopRule, sample
from harness.parity import compare_logits, find_contradiction, find_fault
from harness.schema import Parity

PR_SET_PDEATHSIG = 1
FAILURES = ((BackendUnavailable, "unavailable"), (UnsupportedJob, "unsupported"), (MemoryError, "oom"))


class Worker:
    """State between two commands: the loaded backend and its reference images."""

    def __init__(self) -> None:
        self.clock: Clock
        self.backend: Backend
        self.spec: Spec
        self.parity: Parity | None = None

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        """Import the backend's module and build the model; answers with times and versions."""
        spec = command["spec"]
        paths = {name: Path(spec[name]) if spec[name] else None for name in ("weights", "artifact")}
        self.spec = Spec(**{**spec, **paths})
        self.clock = make_clock(self.spec.device)
        self.rule = StopRule(**{**command["rule"], "t_975": tuple(command["rule"]["t_975"])})
        start = time.perf_counter()
        module, _, name = BACKENDS[command["backend"]].target.partition(":")
        try:
            self.backend = getattr(importlib.import_module(module), name)()
        except ImportError as error:
            raise BackendUnavailable(f"cannot import {error.name or module}: {error}") from error
        imported = time.perf_counter()
        self.backend.load(self.spec)
        loaded = time.perf_counter()
        self.images, self.reference, self.labels = read_reference(
            Path(command["reference"]), command["reference_images"]
        )
        return {
            "event": "loaded",
            "import_ms": 1000 * (imported - start),
            "load_ms": 1000 * (loaded - imported),
            "clock_overhead_ms": float(np.median(self.clock.window(do_nothing, 1000).samples_ms)),
            "versions": {"python": sys.version.split()[0], "numpy": np.__version__, **self.backend.versions},
        }

    def measure(self, batch_size: int) -> dict[str, Any]:
        """Check the answers at this batch size, then time it."""
        start = time.perf_counter()
        parity = self.parity = self.parity or self._check_reference(batch_size)
        own = self._check_batch(batch_size)
        checked = time.perf_counter()
        executed = self.backend.executed()
        precision = self.spec.precision
        fault = find_fault(parity, precision) or find_fault(own, precision) or find_contradiction(executed, precision)
        cpu_before = time.process_time()
        result = sample(self.clock, self.backend.run, batch_size, self.rule)
        measured = time.perf_counter()
        if result.coverage < MIN_COVERAGE:
            fault = f"the clock saw {result.coverage:.0%} of the wall clock: work ran outside its stream"
        status = "failed_parity" if fault else "unstable" if result.doubt else "ok"
        return {
            "event": "measured",
            "status": status,
            "reason": fault or result.doubt,
            "samples": {"device_ms": result.device_ms, "throughput_fps": result.throughput_fps},
            # on a CPU the images are already where they are used, and `run` returns when the work is done
            "same_as": {"transfer_ms": "device_ms", "host_ms": "device_ms"} if self.spec.device == "cpu" else {},
            "warmup_ms": result.warmup_ms,
            "parity": asdict(parity),
            "executed": {**executed, "timed_batch_rel_l2": own.rel_l2},
            "build_ms": self.backend.build_ms(),
            "gpu_memory_mb": self.backend.gpu_memory_mb(),
            "cpu_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000 * 1.024,  # KiB
            "telemetry": {
                "worker_cpu_percent": 100 * (time.process_time() - cpu_before) / (measured - checked),
                "parity_s": checked - start,
                "warmup_s": sum(result.warmup_ms) / 1000,
                "measuring_s": sum(result.device_ms) / 1000,
                "half_width_percent": result.half_width_percent if np.isfinite(result.half_width_percent) else None,
            },
        }

    def _answer(self, images: np.ndarray) -> np.ndarray:
        self.backend.bind(images)
        self.backend.run()
        return self.backend.logits()

    def _check_reference(self, batch_size: int) -> Parity:
        """All reference images, in chunks of the batch size in question: no other shape is built for the check."""
        answers = []
        for start in range(0, len(self.images), batch_size):
            chunk = self.images[start : start + batch_size]
            answers.append(self._answer(repeat_images(chunk, batch_size))[: len(chunk)])
        return compare_logits(np.concatenate(answers), self.reference, self.labels)

    def _check_batch(self, batch_size: int) -> Parity:
        """The very batch that is timed; leaves it bound."""
        logits = self._answer(repeat_images(self.images, batch_size))
        return compare_logits(logits, repeat_images(self.reference, batch_size), None)


def do_nothing() -> None:
    """The null job: what the clock reads when nothing is timed."""


def repeat_images(images: np.ndarray, batch_size: int) -> np.ndarray:
    """The first `batch_size` images, starting over when there are fewer."""
    return np.ascontiguousarray(images[np.arange(batch_size) % len(images)])


def read_reference(path: Path, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Normalised float32 images (n, 3, size, size), fp32 logits (n, classes), labels (n,) or None; n <= count."""
    with np.load(path, allow_pickle=False) as file:
        mean, std = (file[name].astype(np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
        images = (file["images"][:count].astype(np.float32) / 255 - mean) / std
        labels = file["labels"][:count]
        return images, file["logits"][:count], labels if len(labels) and labels.min() >= 0 else None


def describe_failure(error: Exception) -> dict[str, str]:
    """The row's status and reason for an exception of a backend."""
    for kind, status in FAILURES:
        if isinstance(error, kind):
            return {"event": "failed", "status": status, "reason": str(error) or "out of memory"}
    text = " ".join(f"{type(error).__name__}: {error}".split())
    out_of_memory = any(sign in text.lower() for sign in ("out of memory", "can't allocate memory", "bad_alloc"))
    return {"event": "failed", "status": "oom" if out_of_memory else "crashed", "reason": text[:500]}


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies: never two workers at once, even after kill -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(commands_fd: int, replies_fd: int) -> None:
    """Answer commands until their pipe is closed."""
    worker = Worker()
    with os.fdopen(commands_fd, encoding="utf-8") as commands, os.fdopen(replies_fd, "w", encoding="utf-8") as replies:
        for line in commands:
            command = json.loads(line)
            try:
                answer = worker.load(command) if command["do"] == "load" else worker.measure(command["batch_size"])
            except Exception as error:  # whatever a library raises becomes the row's reason
                traceback.print_exc()
                answer = describe_failure(error)
            print(json.dumps(answer), file=replies, flush=True)


def main() -> None:
    """Entry point: the two pipe ends are the arguments."""
    die_with_parent()
    serve(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
