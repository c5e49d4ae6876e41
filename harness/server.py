"""The serving check from its arguments to its last row: offline rate, peak under a limit, and the check around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from harness.artifacts import Model
from harness.commands import find_artifact, make_load_command
from harness.config import BenchConfig
from harness.environments import find_interpreter
from harness.interrupt import Interrupt
from harness.launch import WorkerDied, WorkerProcess, make_environment
from harness.schema import ARCH, Job
from harness.server_config import ServerConfig
from harness.server_schema import ServerRow
from harness.store import RunFolder, utc_now

SEARCH_STEPS = 6  # each halves what is left between a rate that is kept and one that is not
TRIES = 2  # of a rate: a stall of the machine can spoil a trial, nothing can make it too good
CHECKS = (0.8, 1.2)  # of the peak
Try = Callable[[float, float, str], ServerRow]  # (rate per s, seconds, purpose)


@dataclass
class ServingCheck:
    """Everything that stays the same from contender to contender."""

    config: BenchConfig
    settings: ServerConfig
    folder: RunFolder
    models: dict[int, Model]
    machine: dict[str, Any]
    threads: int
    on_row: Callable[[ServerRow], None]
    on_peak: Callable[[float | None], None]
    interrupt: Interrupt

    def run(self) -> None:
        """One worker for each contender and image size; returns early when interrupted. Raises StoreError."""
        for size in self.models:
            for backend, variant, precision in self.config.contenders:
                if self.interrupt.requested:
                    return
                Contender(self, Job(backend, variant, precision, size, max(self.config.batches))).run()


class Contender:
    """One backend at one image size, and the worker that serves it."""

    def __init__(self, check: ServingCheck, job: Job) -> None:
        self.check, self.job, self.model = check, job, check.models[job.image_size]
        self.trials = 0
        artifact = find_artifact(job, self.model) or self.model.weights
        self.known: dict[str, Any] = {
            "run_id": check.folder.run_id,
            **{name: getattr(job, name) for name in ("backend", "variant", "precision", "image_size")},
            "device": check.machine["device"],
            "threads": check.threads,
            "batch_sizes": check.config.batches,
            "batch_delay_ms": check.settings.batch_delay_ms,
            "limit_ms": check.settings.p99_limit_ms,
            "arch": self.model.weights.manifest.get("arch", ARCH),
            "weights_sha256": self.model.weights.sha256,
            "artifact_sha256": artifact.sha256,
        }

    def run(self) -> None:
        """Every step; one that fails ends this contender with a row that says why."""
        check = self.check
        environment = make_environment(check.machine["kind"], check.threads)
        interpreter = find_interpreter(self.job.backend, check.config.environments)
        log = check.folder.path / f"logs/{self.job.contender.replace('/', '-')}-{self.job.image_size}.log"
        self.worker = None
        self.step: dict[str, Any] = {"scenario": "offline", "purpose": "offline"}
        try:
            self.worker = check.interrupt.worker = WorkerProcess(interpreter, log, environment)
            self._measure()
        except WorkerDied as death:
            if not check.interrupt.abandoned:
                self._write(status=death.status, reason=str(death))
        finally:
            if self.worker:
                self.worker.stop()

    def _measure(self) -> None:
        check, settings = self.check, self.check.settings
        load = make_load_command(self.job, check.config, self.model, check.machine["kind"], check.threads)
        self.known["versions"] = self._ask(load)["versions"]
        self._ask({"do": "prepare", "batch_sizes": check.config.batches})
        offline = self._ask({"do": "offline", "seconds": settings.search_seconds}, settings.search_seconds)
        best = max(
            self._write(offline_fps=offline["offline_fps"], seconds=settings.search_seconds).offline_fps.values()
        )
        if settings.rate is not None:
            self.try_rate(settings.rate, settings.serve_seconds, "check")
            return
        peak = find_peak(self.try_rate, best, settings.search_seconds, lambda: check.interrupt.requested)
        check.on_peak(peak)
        for rate in [share * peak for share in CHECKS] if peak else []:
            if not check.interrupt.requested:
                self.try_rate(rate, settings.serve_seconds, "check")

    def try_rate(self, rate_per_s: float, seconds: float, purpose: str) -> ServerRow:
        """Let requests arrive at a rate; every trial has arrivals of its own."""
        settings = self.check.settings
        self.step = {"scenario": "server", "purpose": purpose, "rate_per_s": rate_per_s, "seconds": seconds}
        self.step["seed"] = settings.seed + self.trials
        self.trials += 1
        command = {
            "do": "server",
            **{name: self.step[name] for name in ("rate_per_s", "seconds", "seed")},
            "batch_delay_ms": settings.batch_delay_ms,
            "limit_ms": settings.p99_limit_ms,
        }
        answer = self._ask(command, seconds)
        if not answer["requests"]:
            flag = "search_seconds" if purpose == "search" else "serve_seconds"
            reason = f"no request arrived in {seconds:g} s at {rate_per_s:.3g}/s: give a longer --{flag}"
            return self._write(status="skipped", reason=reason)
        return self._write(**{name: value for name, value in answer.items() if name != "event"})

    def _ask(self, command: dict[str, Any], serving_s: float = 0.0) -> dict[str, Any]:
        """An answer is due `job_timeout_s` after the `serving_s` that the command itself asks for.

        Raises WorkerDied also for an answer that says `failed`.
        """
        assert self.worker is not None  # noqa: S101 - for the type checker
        answer = self.worker.ask(command, serving_s + self.check.config.job_timeout_s)
        if answer["event"] == "failed":
            raise WorkerDied(answer["status"], answer["reason"])
        return answer

    def _write(self, **found: Any) -> ServerRow:
        row = ServerRow(started_at=utc_now(), **{**self.known, **self.step, **found})
        self.check.folder.append(row)
        self.check.on_row(row)
        return row


def find_peak(attempt: Try, offline_fps: float, seconds: float, stopped: Callable[[], bool]) -> float | None:
    """The highest rate at which the limit was kept, by bisection below `offline_fps`; None when it was kept at none.

    No server can answer more than `offline_fps` for long, so the search needs no other bound. A rate is refused when
    TRIES trials of `seconds` fail, each with other arrivals. Latency is taken to grow with the rate. A rate at which no
    request arrived in any trial ends the search: fewer would at those below it.
    """
    low, high = 0.0, offline_fps
    for _ in range(SEARCH_STEPS):
        if stopped():
            break
        rate = (low + high) / 2
        requests = 0
        for _ in range(TRIES):
            trial = attempt(rate, seconds, "search")
            requests += trial.requests
            if trial.keeps_limit:
                low = rate
                break
        else:
            high = rate
        if not requests:
            break
    return low or None


def describe_settings(config: BenchConfig, settings: ServerConfig) -> dict[str, Any]:
    """As config.yaml has them."""
    return {**asdict(config), "scenario": "server", **asdict(settings)}
