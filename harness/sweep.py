"""Measures a plan: every job ends as exactly one row, whatever its worker does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from types import FrameType
from typing import Any

from scipy import stats

from harness.artifacts import Artifact, Model
from harness.backends.base import Spec
from harness.config import BenchConfig
from harness.launch import WorkerDied, WorkerProcess
from harness.measure import StopRule
from harness.plan import Group
from harness.schema import AGAIN, SCHEMA_VERSION, Job, Row
from harness.store import RunFolder, utc_now

OnRow = Callable[[Row], None]


@dataclass
class TimeSheet:
    """Where the wall clock of a run went, in s; `measuring` is what the rows' samples add up to."""

    importing: float = 0.0
    loading: float = 0.0
    parity: float = 0.0
    warm_up: float = 0.0
    measuring: float = 0.0
    wall: float = 0.0
    parent_cpu: float = 0.0

    def add(self, telemetry: dict[str, float]) -> None:
        """Add what a worker reports of one job."""
        self.parity += telemetry["parity_s"]
        self.warm_up += telemetry["warmup_s"]
        self.measuring += telemetry["measuring_s"]

    def to_dict(self) -> dict[str, float]:
        """As kept in audit.json, with `other` = starting and ending workers, writing rows."""
        known = self.importing + self.loading + self.parity + self.warm_up + self.measuring
        return {**asdict(self), "other": self.wall - known}


class Interrupt:
    """SIGINT and SIGTERM: the first lets the row in progress end, a second stops its worker at once."""

    def __init__(self) -> None:
        self.requested = False
        self.worker: WorkerProcess | None = None

    def install(self) -> None:
        """Take over both signals in this process."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and self.worker is not None:
            self.worker.process.kill()
        self.requested = True


@dataclass
class Sweep:
    """Everything that stays the same from job to job."""

    config: BenchConfig
    folder: RunFolder
    models: dict[int, Model]
    machine: dict[str, Any]
    threads: int
    interpreter: str
    on_row: OnRow
    interrupt: Interrupt = field(default_factory=Interrupt)
    time_sheet: TimeSheet = field(default_factory=TimeSheet)
    clock_overhead_ms: list[float] = field(default_factory=list)

    def run(self, groups: list[Group]) -> None:
        """Measure all groups in order; returns early when interrupted. Raises StoreError."""
        start = time.monotonic()
        try:
            for group in groups:
                if self.interrupt.requested:
                    return
                self._run_group(group)
        finally:
            self.time_sheet.wall += time.monotonic() - start

    def _run_group(self, group: Group) -> None:
        """Measure a group; a worker that dies costs one row, and a new one goes on with the next job."""
        left = list(group.jobs)
        while left and not self.interrupt.requested:
            worker = None
            try:
                worker, loaded = self._start_worker(left[0])
                if loaded["event"] == "failed":
                    return self._fail_all(left, loaded["status"], loaded["reason"])
                self._measure_jobs(worker, loaded, left)
            except WorkerDied as death:
                if worker is None:  # died while loading, which does not depend on the batch size
                    return self._fail_all(left, death.status, str(death))
                if self.interrupt.requested and "SIGKILL" in str(death):
                    return None  # we did it: the job stays missing, for --resume
                self._fail(left, death.status, str(death))
            finally:
                if worker is not None:
                    worker.stop()
        return None

    def _start_worker(self, job: Job) -> tuple[WorkerProcess, dict[str, Any]]:
        interpreter = self.config.environments.get(job.backend, self.interpreter)
        log = self.folder.path / "logs" / f"{job.backend}-{job.variant}-{job.precision}-{job.image_size}.log"
        worker = WorkerProcess(interpreter, log, self._worker_environment())
        self.interrupt.worker = worker
        try:
            answer = worker.ask(self._load_command(job), self.config.job_timeout_s)
        except WorkerDied:
            worker.stop()
            raise
        if answer["event"] == "loaded":
            self.clock_overhead_ms.append(answer["clock_overhead_ms"])
        self.time_sheet.importing += answer.get("import_ms", 0.0) / 1000
        self.time_sheet.loading += answer.get("load_ms", 0.0) / 1000
        return worker, answer

    def _measure_jobs(self, worker: WorkerProcess, loaded: dict[str, Any], left: list[Job]) -> None:
        """Measure jobs with one worker, removing each from `left` as its row is written."""
        while left and not self.interrupt.requested:
            started_at, cpu, wall = utc_now(), time.process_time(), time.monotonic()
            answer = worker.ask({"do": "measure", "batch_size": left[0].batch_size}, self.config.job_timeout_s)
            if answer["event"] == "failed":
                self._fail(left, answer["status"], answer["reason"])
                continue
            parent_cpu = time.process_time() - cpu
            self.time_sheet.parent_cpu += parent_cpu
            self.time_sheet.add(answer["telemetry"])
            answer["telemetry"]["parent_cpu_percent"] = 100 * parent_cpu / (time.monotonic() - wall)
            known = {name: value for name, value in answer.items() if name != "event"}
            details = {"load_ms": loaded["load_ms"], "versions": loaded["versions"], **known}
            self._write(Row.from_dict({**self._describe(left[0], started_at), **details}))
            left.pop(0)

    def _fail(self, left: list[Job], status: str, reason: str) -> None:
        """A row for the first job left; after an oom the larger batches are skipped without a try."""
        job = left.pop(0)
        self._write(Row.from_dict({**self._describe(job, utc_now()), "status": status, "reason": reason}))
        if status == "oom":
            self._fail_all(left, "skipped", f"batch {job.batch_size} of this group ran out of memory")

    def _fail_all(self, left: list[Job], status: str, reason: str) -> None:
        """A row with the same reason for every job left."""
        while left:
            job = left.pop(0)
            self._write(Row.from_dict({**self._describe(job, utc_now()), "status": status, "reason": reason}))

    def _write(self, row: Row) -> None:
        self.folder.append(row)
        self.on_row(row)

    def _describe(self, job: Job, started_at: str) -> dict[str, Any]:
        """What is known of a row before, and whatever happens while, it is measured."""
        model = self.models[job.image_size]
        used = self._artifact(job) or model.weights
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.folder.run_id,
            "started_at": started_at,
            "job": asdict(job),
            "device": self.machine["device"],
            "clock": "cuda_events" if self.machine["kind"] == "cuda" else "cpu",
            "artifact": used.path.name,
            "artifact_sha256": used.sha256,
            "artifact_bytes": used.path.stat().st_size,
            "weights_sha256": model.weights.sha256,
            "flops_per_image": model.reference.manifest.get("flops_per_image"),
            "options": {"threads": self.threads},
        }

    def _artifact(self, job: Job) -> Artifact | None:
        """The exported file a job reads: INT8 has its own, other precisions are made from fp32 by the library.

        PyTorch reads the weights themselves.
        """
        if job.backend == "pytorch":
            return None
        return self.models[job.image_size].exported.get("int8" if job.precision == "int8" else "fp32")

    def _load_command(self, job: Job) -> dict[str, Any]:
        model = self.models[job.image_size]
        artifact = self._artifact(job)
        spec = Spec(
            variant=job.variant.removesuffix(AGAIN),
            precision=job.precision,
            image_size=job.image_size,
            device=self.machine["kind"],
            threads=self.threads,
            arch=model.weights.manifest["arch"],
            num_classes=model.weights.manifest["num_classes"],
            weights=model.weights.path.resolve(),
            artifact=artifact.path.resolve() if artifact else None,
        )
        paths = {"weights": str(spec.weights), "artifact": str(spec.artifact) if spec.artifact else None}
        return {
            "do": "load",
            "backend": job.backend,
            "spec": {**asdict(spec), **paths},
            "rule": asdict(make_stop_rule(self.config)),
            "reference": str(model.reference.path.resolve()),
            "reference_images": self.config.reference_images,
        }

    def _worker_environment(self) -> dict[str, str]:
        threads = str(self.threads)
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.machine["kind"] == "cpu" else {}
        return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, **hidden}


def make_stop_rule(config: BenchConfig) -> StopRule:
    """The worker's part of the configuration, with Student's t quantiles from SciPy."""
    freedom = range(1, min(config.max_samples, 1000) + 1)
    shared = {field.name: getattr(config, field.name) for field in fields(StopRule) if field.name != "t_975"}
    return StopRule(**shared, t_975=tuple(float(stats.t.ppf(0.975, df)) for df in freedom))
