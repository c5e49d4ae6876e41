"""Workers whose backends are slow to build, loaded and built side by side before any of them is measured.

Why, and what may not happen meanwhile: docs/decisions/one-process-per-group.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

from harness.backends import BACKENDS, family
from harness.config import BenchConfig
from harness.interrupt import Interrupt
from harness.launch import WorkerDied, WorkerProcess
from harness.plan import Group
from harness.schema import AGAIN, Job

Ready = tuple[WorkerProcess, dict[str, Any]]  # a worker and its answer to "load"


def find_serves(job: Job) -> Callable[[int], Hashable] | None:
    """What tells compilations of its variant apart (see harness.backends.Entry); None where it is not slow to build."""
    return BACKENDS[family(job.backend)].slow_to_build.get(job.variant.removesuffix(AGAIN))


def split(group: Group) -> list[Group]:
    """A group for each compilation that serves the jobs: its worker makes that one alone, beside the others."""
    serves = find_serves(group.first)
    if serves is None:
        return [group]
    return [Group(tuple(jobs)) for _, jobs in groupby(group.jobs, key=lambda job: serves(job.batch_size))]


@dataclass
class SideBuilds:
    """What waits to be measured, by the first job of its group.

    `start` starts a worker for a job; `make_command` makes the message that lets it load the job's model. A value is
    the death of a worker that was loading, or None where building failed: such a group is measured as without builds.
    """

    config: BenchConfig
    interrupt: Interrupt
    start: Callable[[Job], WorkerProcess]
    make_command: Callable[[Job], dict[str, Any]]
    waiting: dict[Job, Ready | WorkerDied | None] = field(default_factory=dict)

    def split(self, groups: list[Group]) -> list[Group]:
        """The same jobs, in groups that are built side by side where any are."""
        if self.config.parallel_builds == 1:
            return groups
        return [part for group in groups for part in split(group)]

    def find_due(self, groups: Iterable[Group]) -> list[Group]:
        """The first of `groups` and the next ones that are slow to build, `parallel_builds` at most.

        None where the first is not slow to build or has had its turn, and where it would be alone.
        """
        if self.config.parallel_builds == 1:
            return []
        groups = iter(groups)
        first = next(groups)
        if first.first in self.waiting or find_serves(first.first) is None:
            return []
        later = (group for group in groups if find_serves(group.first) is not None)
        due = [first, *islice(later, self.config.parallel_builds - 1)]
        return due if len(due) > 1 else []

    def build(self, groups: list[Group]) -> None:
        """Load and build all groups, each in a worker of its own; returns once none of them works any more."""
        started: dict[Group, WorkerProcess] = {}
        try:
            for group in groups:  # in this thread: workers die with the thread that started them
                try:
                    started[group] = self.start(group.first)
                    self.interrupt.watch(started[group])
                except WorkerDied as death:
                    self.waiting[group.first] = death
            with ThreadPoolExecutor(len(groups)) as pool:
                found = pool.map(self._load_and_build, started, started.values())
                self.waiting |= zip((group.first for group in started), found, strict=True)
        finally:
            self.interrupt.building.clear()
        for group in started:
            ready = self.waiting[group.first]
            if isinstance(ready, tuple):
                ready[1]["parallel_builds"] = len(started)

    def _load_and_build(self, group: Group, worker: WorkerProcess) -> Ready | WorkerDied | None:
        try:
            loaded = worker.ask(self.make_command(group.first), self.config.job_timeout_s)
        except WorkerDied as death:
            return death
        if loaded["event"] == "failed":
            return worker, loaded
        command = {"do": "build", "batch_sizes": [job.batch_size for job in group.jobs]}
        try:
            built = worker.ask(command, self.config.job_timeout_s)
        except WorkerDied:
            return None
        if built["event"] == "failed":
            worker.stop()
            return None
        return worker, loaded

    def has_died(self, job: Job) -> bool:
        """Whether the worker for the group of this first job died loading."""
        return isinstance(self.waiting.get(job), WorkerDied)

    def take(self, job: Job) -> Ready | None:
        """The worker that waits for the group of this first job; None where there is none, or no longer.

        Raises WorkerDied where it died loading.
        """
        ready = self.waiting.pop(job, None)
        if isinstance(ready, WorkerDied):
            raise ready
        if ready is not None and ready[0].process.poll() is not None:  # it died waiting
            ready[0].stop()
            return None
        return ready

    def discard(self, job: Job) -> None:
        """End the worker that waits for the group of this first job, which is not to be measured."""
        ready = self.waiting.pop(job, None)
        if isinstance(ready, tuple):
            ready[0].stop()

    def list_pids(self) -> list[int]:
        """Process ids of the workers that wait; one that failed to load may hold a CUDA context all the same."""
        return [each[0].process.pid for each in self.waiting.values() if isinstance(each, tuple)]

    def stop(self) -> None:
        """End the workers that still wait."""
        for ready in self.waiting.values():
            if isinstance(ready, tuple):
                ready[0].stop()
        self.waiting.clear()
