"""What runs on a machine of a cluster: one device, measured by the same Sweep as without a cluster.

A Ray actor: `next_rows` waits in one thread while `finish` can be called in another, and the sweep runs in a third.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.artifacts import Model
from harness.audit import observe_load
from harness.ceilings import try_ceilings
from harness.cluster_files import Files, find_same, unpack
from harness.config import BenchConfig
from harness.environments import find_tensorrt_versions
from harness.machine import describe_machine
from harness.plan import Group
from harness.schema import Job, Row
from harness.store import Record, RunFolder
from harness.sweep import Sweep
from harness.telemetry import Telemetry

NODE_ENDS_S = 2.0  # a node that is lost kills its processes one after another, within this time
LOG_CHARACTERS = 20_000  # of each worker's log, from its end


class Outbox(RunFolder):
    """Stands for the run's folder, which is on another machine: rows are put into a queue. Logs stay in `path`."""

    def __init__(self, path: Path, answers: queue.Queue[dict[str, Any] | None]) -> None:
        super().__init__(path)
        self.queue = answers
        self.series: dict[Job, dict[str, Any]] = {}

    def append(self, row: Record) -> None:
        """See RunFolder; the one who stores it waits for it. The job's time series goes with it."""
        if isinstance(row, Row) and row.status == "oom" and "SIGKILL" in row.reason:
            time.sleep(NODE_ENDS_S)  # perhaps the node goes down, and this process is next: then there is no such row
        series = self.series.pop(row.job, {}) if isinstance(row, Row) else {}
        self.queue.put({"row": row.to_json(), "telemetry": series})

    def append_telemetry(self, job: Job, series: dict[str, Any]) -> None:
        """See RunFolder; it waits for the job's row."""
        self.series[job] = series


class Device:
    """One device and the jobs it is given. `name` is what its rows call the machine."""

    def __init__(self, name: str, config: BenchConfig, run_id: str, weights_dir: str) -> None:
        self.name, self.config, self.run_id = name, config, run_id
        self.weights_dir = Path(weights_dir)
        self.scratch = tempfile.TemporaryDirectory(prefix="harness-")
        self.machine = {**describe_machine(config.device), "name": name}
        self.tensorrt = find_tensorrt_versions(config, self.machine["kind"])
        self.threads = config.threads or self.machine["cpu"]["usable_cores"]
        self.models: dict[int, Model] = {}
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.fault = ""

    def describe(self) -> dict[str, Any]:
        """The machine, TensorRT's versions on it by backend, and this process's number there."""
        return {"machine": self.machine, "tensorrt": self.tensorrt, "pid": os.getpid()}

    def observe_load(self, ours: list[int]) -> dict[str, Any]:
        """Who uses the machine beside the devices of this run, whose pids are `ours`; see audit.observe_load."""
        return observe_load(self.machine["kind"], ours=ours)

    def measure_ceilings(self) -> dict[str, Any]:
        """As ceilings.json has them, or `failed` with the reason."""
        return try_ceilings(sys.executable, self.machine, self.threads, self._path / "logs/calibrate.log")

    def has_model(self, image_size: int, checksums: list[str]) -> bool:
        """Whether this machine has these very files, here or from an earlier `receive`."""
        if image_size not in self.models:
            for folder in (self.weights_dir, self._path / "weights"):
                gpu, arch = self.machine["device"], self.config.arch
                model = find_same(folder, image_size, arch, checksums, gpu=gpu, tensorrt=self.tensorrt)
                if model is not None:
                    self.models[image_size] = model
                    break
        return image_size in self.models

    def receive(self, files: Files) -> None:
        """Keep weights and exports that `has_model` did not find."""
        unpack(files, self._path / "weights")

    def start(self, jobs: list[Job]) -> None:
        """Begin to measure jobs, group after group; their rows come by `next_rows`."""
        self.answers = queue.Queue()
        self.fault = ""
        self.outbox = Outbox(
            self._path / f"unit-{threading.get_ident()}-{id(self.answers)}" / self.run_id, self.answers
        )
        telemetry = Telemetry.open(self.machine["kind"])
        self.sweep = Sweep(
            *(self.config, self.outbox, self.models, self.machine, self.threads),
            on_row=lambda row: None,
            telemetry=telemetry,
        )
        threading.Thread(target=self._measure, args=(jobs,), name="sweep", daemon=True).start()

    def next_rows(self) -> dict[str, Any]:
        """Waits for a row, as JSON, and its job's time series; at a unit's end what the sweep says of itself."""
        answer = self.answers.get()
        if answer is not None:
            return answer
        sheet = self.sweep.time_sheet
        overheads = self.sweep.clock_overhead_ms
        return {"fault": self.fault, "log": self._read_logs(), "time_sheet": vars(sheet), "null_job_ms": overheads}

    def finish(self) -> None:
        """Let the row in progress end, and measure no more."""
        self.sweep.interrupt.request()

    @property
    def _path(self) -> Path:
        return Path(self.scratch.name)

    def _measure(self, jobs: list[Job]) -> None:
        alike = groupby(jobs, key=lambda job: (job.contender, job.image_size, job.round))
        try:
            self.sweep.run([Group(tuple(group)) for _, group in alike])
        except Exception as error:
            self.fault = f"{type(error).__name__}: {error}"
        self.answers.put(None)

    def _read_logs(self) -> str:
        logs = sorted((self.outbox.path / "logs").glob("*.log"))
        texts = (path.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:] for path in logs)
        return "".join(f"== {path.name}\n{text}" for path, text in zip(logs, texts, strict=True) if text)
