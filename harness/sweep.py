"""Measures a plan: every job ends as exactly one row, whatever its worker does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.artifacts import Model
from harness.builds import SideBuilds
from harness.commands import describe_job, make_load_command
from harness.config import BenchConfig
from harness.environments import find_interpreter
from harness.gpu_samples import find_disturbance
from harness.interrupt import Interrupt
from harness.launch import WorkerDied, WorkerProcess, make_environment
from harness.limits import explain_crash
from harness.plan import Group, has_saturated, is_same, may_share_worker
from harness.schema import Job, Row, SchemaError
from harness.store import RunFolder, StoreError, utc_now
from harness.telemetry import Telemetry
from harness.time_sheet import TimeSheet

OnRow = Callable[[Row], None]
DECLINED = ("unavailable", "unsupported")  # a worker that says so has come to no harm: the next size may ask it


@dataclass
class Curve:
    """Batch sizes of one contender at one image size so far, ascending; `ended`: why larger ones are not measured."""

    ms_per_image: list[float] = field(default_factory=list)
    ended: str = ""


@dataclass
class Sweep:
    """Everything that stays the same from job to job, and the worker that is kept from group to group."""

    config: BenchConfig
    folder: RunFolder
    models: dict[int, Model]
    machine: dict[str, Any]
    threads: int
    on_row: OnRow
    telemetry: Telemetry
    interrupt: Interrupt = field(default_factory=Interrupt)
    time_sheet: TimeSheet = field(default_factory=TimeSheet)
    clock_overhead_ms: list[float] = field(default_factory=list)
    kept: tuple[Job, WorkerProcess] | None = None

    def __post_init__(self) -> None:
        self.curve = Curve()
        self.builds = SideBuilds(self.config, self.interrupt, self._start_worker, self._make_load_command)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that every worker gets beside those of this process."""
        return make_environment(self.machine["kind"], self.threads)

    def run(self, groups: list[Group]) -> None:
        """Measure all groups in order; returns early when interrupted. Raises StoreError."""
        start = time.monotonic()
        groups = self.builds.split(groups)
        self.telemetry.start()
        try:
            for position, group in enumerate(groups):
                if not position or not is_same(groups[position - 1].first, group.first):
                    self.curve = Curve()
                self._build_ahead(groups[position:])
                if self.interrupt.requested:
                    return
                self._run_group(group)
        finally:
            self._stop_kept()
            self.builds.stop()
            self.telemetry.stop()
            self.time_sheet.wall += time.monotonic() - start

    def keep_trace(self, job: Job, path: Path) -> str:
        """Write a profiler's trace of a job to `path`, by a worker of its own; answers why there is none, if so."""
        try:
            worker, answer = self._get_worker(job)
            if answer["event"] == "loaded":
                command = {"do": "profile", "batch_size": job.batch_size, "path": str(path.resolve())}
                answer = worker.ask(command, self.config.job_timeout_s)
            return answer.get("reason", "")
        except WorkerDied as death:
            return str(death)
        finally:
            self._stop_kept()

    def _build_ahead(self, groups: list[Group]) -> None:
        """Where the first group is slow to build: compile it and the next such ones side by side, beside nothing else.

        All of it is time spent building; what these workers say of importing and loading overlaps.
        """
        due = [] if self.interrupt.requested or self.curve.ended else self.builds.find_due(groups)
        if due:
            self._stop_kept()
            start = time.monotonic()
            self.builds.build(due)
            self.time_sheet.building += time.monotonic() - start

    def _run_group(self, group: Group) -> None:
        """Measure a group; a worker that dies costs one row, and a new one goes on with the next job."""
        left = list(group.jobs)
        if self.curve.ended:
            self.builds.discard(group.first)
            return self._fail_all(left, "skipped", self.curve.ended)
        while left and not self.interrupt.requested:
            loading, fresh = True, self.builds.has_died(left[0]) or not self._may_go_on(left[0])
            try:
                worker, loaded = self._get_worker(left[0])
                if loaded["event"] == "failed":
                    if loaded["status"] not in DECLINED:
                        self._stop_kept()
                        if not fresh:  # perhaps the fault of what the worker did before: try with a new one
                            continue
                    return self._fail_all(left, loaded["status"], loaded["reason"])
                loading = False
                self._measure_jobs(worker, loaded, left)
            except WorkerDied as death:
                self._stop_kept()
                if loading and not fresh:
                    continue
                if loading:  # which does not depend on the batch size
                    return self._fail_all(left, death.status, str(death))
                if self.interrupt.requested and "SIGKILL" in str(death):
                    return None  # we did it: the job stays missing, for --resume
                self._fail(left, death.status, str(death))
        return None

    def _get_worker(self, job: Job) -> tuple[WorkerProcess, dict[str, Any]]:
        """The worker with the job's model loaded: one that waits, the one before where it may go on, or a new one."""
        waiting = self.builds.take(job)
        if waiting is not None or not self._may_go_on(job):
            self._stop_kept()
        worker = waiting[0] if waiting else self.kept[1] if self.kept else self._start_worker(job)
        self.kept = job, worker
        self.interrupt.worker = worker
        if waiting:  # it loaded while others built: that time is counted, and its clock did not run alone
            return waiting
        answer = worker.ask(self._make_load_command(job), self.config.job_timeout_s)
        if answer["event"] == "loaded":
            self.clock_overhead_ms.append(answer["clock_overhead_ms"])
        self.time_sheet.importing += answer.get("import_ms", 0.0) / 1000
        self.time_sheet.loading += answer.get("load_ms", 0.0) / 1000
        return worker, answer

    def _may_go_on(self, job: Job) -> bool:
        """Whether the worker that is kept may take this job."""
        return self.kept is not None and may_share_worker(self.kept[0], job, self.config)

    def _start_worker(self, job: Job) -> WorkerProcess:
        """Raises WorkerDied where its interpreter cannot be started, StoreError where its log cannot be written."""
        log = self.folder.path / "logs" / f"{job.backend}-{job.variant}-{job.precision}-{job.image_size}.log"
        try:
            return WorkerProcess(find_interpreter(job.backend, self.config.environments), log, self.environment)
        except OSError as error:
            raise StoreError(f"{log}: cannot be written ({error.strerror}); make room, then --resume") from None

    def _make_load_command(self, job: Job) -> dict[str, Any]:
        return make_load_command(job, self.config, self.models[job.image_size], self.machine["kind"], self.threads)

    def _stop_kept(self) -> None:
        if self.kept is not None:
            self.kept[1].stop()
            self.kept = None

    def _measure_jobs(self, worker: WorkerProcess, loaded: dict[str, Any], left: list[Job]) -> None:
        """Measure jobs with one worker, removing each from `left` as its row is written."""
        while left and not self.interrupt.requested:
            started_at, cpu, wall = utc_now(), time.process_time(), time.monotonic()
            batch_size = left[0].batch_size
            command = {"do": "measure", "batch_size": batch_size, "load_s": self.config.load_seconds_at(batch_size)}
            answer = worker.ask(command, self.config.job_timeout_s)
            if answer["event"] == "failed":
                self._fail(left, answer["status"], answer["reason"])
                if answer["status"] not in DECLINED:  # it may hold memory, or a CUDA context that fails ever after
                    self._stop_kept()
                    return
                continue
            parent_cpu = time.process_time() - cpu
            self.time_sheet.parent_cpu += parent_cpu
            self.time_sheet.add(answer["telemetry"])
            answer["telemetry"]["parent_cpu_percent"] = 100 * parent_cpu / (time.monotonic() - wall)
            self._add_telemetry(answer, worker, wall)
            self._keep_series(left[0], answer["load"], wall)
            known = {name: value for name, value in answer.items() if name not in ("event", "load")}
            details = {"load_ms": loaded["load_ms"], "versions": loaded["versions"], **known}
            described = self._describe(left[0], started_at)
            if "parallel_builds" in loaded:  # then its times of loading and building are not those of a worker alone
                described["options"]["parallel_builds"] = loaded["parallel_builds"]
            try:
                row = Row.from_dict({**described, **details})
            except SchemaError as error:
                self._fail(left, "crashed", f"what the worker measured is no row: {error}")
                continue
            self._write(row)
            left.pop(0)
            self.curve.ms_per_image.append(statistics.median(row.samples["device_ms"]) / row.job.batch_size)
            if has_saturated(row.job.contender, self.curve.ms_per_image, self.config.saturation_percent):
                percent = self.config.saturation_percent
                self.curve.ended = f"two batch sizes in a row did not raise FPS by {percent:g}% (`saturation_percent`)"
                self._fail_all(left, "skipped", self.curve.ended)

    def _add_telemetry(self, answer: dict[str, Any], worker: WorkerProcess, asked_s: float) -> None:
        """What the GPU did meanwhile; a slowdown that is not its normal state makes the row unstable."""
        load = answer["load"]
        pid, waiting = worker.process.pid, self.builds.list_pids()
        seen = self.telemetry.summary(load["begin_s"], load["end_s"], pid, load["images"], waiting, asked_s=asked_s)
        answer["telemetry"].update(seen)
        disturbance = find_disturbance(seen)
        if disturbance and answer["status"] in ("ok", "unstable"):  # a wide interval may come of it, and says less
            answer.update(status="unstable", reason=disturbance)

    def _keep_series(self, job: Job, load: dict[str, Any], begin_s: float) -> None:
        """The GPU's samples from the job's start until now; `load_s` = begin and end of what its row's means are of."""
        series = self.telemetry.series(begin_s, time.monotonic())
        load_s = [round(load[name] - begin_s, 3) for name in ("begin_s", "end_s")]
        self.folder.append_telemetry(job, {"load_s": load_s, **series} if series else {})

    def _fail(self, left: list[Job], status: str, reason: str) -> None:
        """A row for the first job left; after an oom the larger batches are skipped without a try."""
        job = left.pop(0)
        if status == "crashed":
            layers = self.models[job.image_size].reference.manifest.get("layers", [])
            reason = explain_crash(reason, layers, job.batch_size)
        self._write(Row.from_dict({**self._describe(job, utc_now()), "status": status, "reason": reason}))
        if status == "oom":
            self.curve.ended = f"batch {job.batch_size} of this group ran out of memory"
            self._fail_all(left, "skipped", self.curve.ended)

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
        known = describe_job(job, self.models[job.image_size], self.machine)
        options = {
            "threads": self.threads,
            "l2_flush": self.config.l2_flush,
            "target_percent": self.config.target_percent,
            "environment": self.environment,
        }
        if "name" in self.machine:  # one of several
            options["machine"] = self.machine["name"]
        return {"run_id": self.folder.run_id, "started_at": started_at, "options": options, **known}
