"""Child process: loads one backend once, then measures the batch sizes it is asked for. Started by `harness.launch`.

JSON lines over two private pipes (stdout and stderr belong to the libraries):
  parent: {"do": "load", ...}             worker: {"event": "loaded", ...}
  parent: {"do": "build", "batch_sizes"}  worker: {"event": "built"}
  parent: {"do": "measure", "batch_size"} worker: {"event": "measured", ...}
  parent: {"do": "profile", "path", ...}  worker: {"event": "profiled"}
  parent: {"do": "prepare" | "offline" | "server", ...} for the serving check
  either may be answered by {"event": "failed", "status": ..., "reason": ...}.
End of the command pipe ends the worker. Standard library and NumPy only, Python 3.10, besides the library under test.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import BACKENDS, family
from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob
from harness.clocks import Clock, make_clock
from harness.measure import (
    MIN_COVERAGE,
    Samples,
    StopRule,
    half_width_percent,
    run_for,
    sample,
    sample_other_boundaries,
)
from harness.memory import read_peak_rss_mb, reset_peak_rss
from harness.parity import find_contradiction, find_fault
from harness.reference import Reference, read_reference, repeat_images
from harness.schema import Parity
from harness.serving import Server

PR_SET_PDEATHSIG = 1
FAILURES = ((BackendUnavailable, "unavailable"), (UnsupportedJob, "unsupported"), (MemoryError, "oom"))

# How libraries say it, in lower case: PyTorch and CUDA, oneDNN, C++, cuDNN and cuBLAS, ONNX Runtime.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "alloc_failed", "failed to allocate memory")


class Worker:
    """State between two commands: the loaded backend and its reference images."""

    def __init__(self) -> None:
        self.started = False
        self.clock: Clock
        self.backend: Backend
        self.spec: Spec
        self.reference: Reference
        self.parity: Parity | None = None
        self.longest_bind_s = 0.0
        self.server: Server

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        """Import the backend's module and build the model; answers with times and versions.

        Asked again, for another image size, the same backend drops the old model and builds the new one.
        """
        spec = command["spec"]
        paths = {name: Path(spec[name]) if spec[name] else None for name in ("weights", "artifact")}
        self.spec = Spec(**{**spec, **paths})
        self.rule = StopRule(**{**command["rule"], "t_975": tuple(command["rule"]["t_975"])})
        self.boundary_s = command["boundary_seconds"]
        self.parity = None
        reset_peak_rss()
        import_ms = 0.0 if self.started else self._start(command["backend"], l2_flush=command["l2_flush"])
        imported = time.perf_counter()
        self.backend.load(self.spec)
        loaded = time.perf_counter()
        self.reference = read_reference(Path(command["reference"]), command["reference_images"])
        return {
            "event": "loaded",
            "import_ms": import_ms,
            "load_ms": 1000 * (loaded - imported),
            "clock_overhead_ms": float(np.median(self.clock.window(do_nothing, 200).samples_ms)),
            "versions": {"python": sys.version.split()[0], "numpy": np.__version__, **self.backend.versions},
        }

    def _start(self, backend: str, *, l2_flush: bool) -> float:
        """The clock first: it makes the stream that a backend then finds as the current one. Returns ms."""
        start = time.perf_counter()
        clock = make_clock(self.spec.device, l2_flush=l2_flush)
        module, _, name = BACKENDS[family(backend)].target.partition(":")
        try:
            self.backend = getattr(importlib.import_module(module), name)()
        except ImportError as error:
            raise BackendUnavailable(f"cannot import {error.name or module}: {error}") from error
        self.clock, self.started = clock, True
        return 1000 * (time.perf_counter() - start)

    def build(self, batch_sizes: list[int]) -> dict[str, Any]:
        """Let the backend compile ahead, while other workers do; nothing is measured before all have ended."""
        self.backend.build(batch_sizes)
        return {"event": "built"}

    def measure(self, batch_size: int, load_s: float) -> dict[str, Any]:
        """Check the answers at this batch size, then time it at every boundary; then hold the load for `load_s`."""
        start = time.perf_counter()
        self.longest_bind_s = 0.0
        if self.parity is None or find_fault(self.parity, self.spec.precision):
            self.parity = self.reference.check_all(self._answer, batch_size)
        own = self.reference.check_batch(self._answer, batch_size)
        executed = self.backend.executed()
        build_ms = self.backend.build_ms()
        checked = time.perf_counter()
        precision = self.spec.precision
        faults = find_fault(self.parity, precision) or find_fault(own, precision)
        fault = faults or find_contradiction(executed, precision)
        cpu_before = time.process_time()
        result = sample(self.clock, self.backend.run, batch_size, self.rule)
        sampled = time.monotonic()
        others = self._sample_others(batch_size, load_s, result)
        measured = time.perf_counter()
        if result.coverage < MIN_COVERAGE:
            fault = f"the clock saw {result.coverage:.0%} of the wall clock: work ran outside its stream"
        build_s = min((build_ms or 0.0) / 1000, self.longest_bind_s)  # less where an earlier batch size built it
        sampling_s = sum(result.device_ms) / 1000
        telemetry = {
            "worker_cpu_percent": 100 * (time.process_time() - cpu_before) / (measured - checked),
            "build_s": build_s,
            "parity_s": max(0.0, checked - start - build_s),
            "warmup_s": sum(result.warmup_ms) / 1000,
            "measuring_s": sampling_s + others.pop("other_s"),
            "half_width_percent": _if_finite(result.half_width_percent),
            "host_half_width_percent": _if_finite(others.pop("host_half_width_percent")),
            "enqueue_ms": result.enqueue_ms,
        }
        return {
            "event": "measured",
            "status": "failed_parity" if fault else "unstable" if result.doubt else "ok",
            "reason": fault or result.doubt,
            "warmup_ms": result.warmup_ms,
            "parity": asdict(self.parity),
            "executed": {**executed, "timed_batch_rel_l2": own.rel_l2},
            "build_ms": build_ms,
            "gpu_memory_mb": self.backend.gpu_memory_mb(),
            "cpu_memory_mb": read_peak_rss_mb(),
            "telemetry": {name: value for name, value in telemetry.items() if value is not None},
            "load": {"begin_s": sampled - sampling_s, "end_s": sampled, "images": batch_size * len(result.device_ms)},
            **others,
        }

    def profile(self, batch_size: int, path: str) -> dict[str, Any]:
        """Let the backend trace a few inferences into `path`. Nothing is timed by this process before or after."""
        images = repeat_images(self.reference.images, batch_size)
        self._answer(images)
        self.backend.profile(images, Path(path))
        return {"event": "profiled"}

    def _sample_others(self, batch_size: int, load_s: float, result: Samples) -> dict[str, Any]:
        """The boundaries beside device_ms, and the steady load for telemetry where one is asked for."""
        samples = {"device_ms": result.device_ms, "throughput_fps": result.throughput_fps}
        if self.spec.device == "cpu":  # the images are already where they are used, and `run` does the work itself
            same_as = {"transfer_ms": "device_ms", "host_ms": "device_ms"}
            return {"samples": samples, "same_as": same_as, "host_half_width_percent": None, "other_s": 0.0}
        clock, backend = self.clock, self.backend
        start = time.monotonic()
        others = sample_other_boundaries(clock, backend.run, backend.run_with_transfers, batch_size, self.boundary_s)
        half_width = half_width_percent(others.host_ms, self.rule.t_975)
        answer: dict[str, Any] = {"samples": {**samples, **asdict(others)}, "host_half_width_percent": half_width}
        if load_s:
            begin = time.monotonic()
            images = batch_size * run_for(clock, backend.run, load_s, result.device_ms[-1])
            answer["load"] = {"begin_s": begin, "end_s": time.monotonic(), "images": images}
        return {**answer, "other_s": time.monotonic() - start}

    def serve(self, command: dict[str, Any]) -> dict[str, Any]:
        """A step of the serving check; see harness.serving."""
        if command["do"] == "prepare":
            self.server = Server(self.reference, self.spec.precision)
            return self.server.prepare(self.backend, command["batch_sizes"])
        if command["do"] == "offline":
            return self.server.run_offline(command["seconds"])
        return self.server.run_server(**{name: value for name, value in command.items() if name != "do"})

    def _answer(self, images: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        self.backend.bind(images)
        self.longest_bind_s = max(self.longest_bind_s, time.perf_counter() - start)
        self.backend.run()
        return self.backend.logits()


def _if_finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def do_nothing() -> None:
    """The null job: what the clock reads when nothing is timed."""


def describe_failure(error: Exception) -> dict[str, str]:
    """The row's status and reason for an exception of a backend."""
    for kind, status in FAILURES:
        if isinstance(error, kind):
            return {"event": "failed", "status": status, "reason": str(error) or "out of memory"}
    text = " ".join(f"{type(error).__name__}: {error}".split())
    out_of_memory = any(sign in text.lower() for sign in OUT_OF_MEMORY)
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
                if command["do"] == "load":
                    answer = worker.load(command)
                elif command["do"] == "build":
                    answer = worker.build(command["batch_sizes"])
                elif command["do"] == "profile":
                    answer = worker.profile(command["batch_size"], command["path"])
                elif command["do"] == "measure":
                    answer = worker.measure(command["batch_size"], command["load_s"])
                else:
                    answer = worker.serve(command)
                reply = json.dumps(answer, allow_nan=False)
            except Exception as error:  # whatever a library raises becomes the row's reason
                traceback.print_exc()
                reply = json.dumps(describe_failure(error))
            print(reply, file=replies, flush=True)


def skip_teardown(served: threading.Event) -> None:
    """End this process once all is done, without taking apart the interpreter: with torch loaded that takes a second.

    Registered before any library is imported, it comes after what they have to do at exit. Where `serve` did not come
    to its end the interpreter goes on, and tells the exit status.
    """
    if served.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)  # what C and C++ libraries have printed
        os._exit(0)


def main() -> None:
    """Entry point: the two pipe ends are the arguments."""
    served = threading.Event()
    atexit.register(skip_teardown, served)
    die_with_parent()
    serve(int(sys.argv[1]), int(sys.argv[2]))
    served.set()


if __name__ == "__main__":
    main()
