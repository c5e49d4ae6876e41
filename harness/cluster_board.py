"""Which device of a cluster measures which jobs, and what becomes of them when it is lost. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.plan import Group
from harness.schema import Job, Row, SchemaError

MAX_LOSSES = 2  # machines that a job may be lost with before it is taken for the cause
Unit = list[Job]


def make_units(groups: Sequence[Group], may_share_worker: Callable[[Job, Job], bool], devices: int) -> list[Unit]:
    """What one device measures in a row.

    All contenders at an image size, the largest first, where there are sizes enough for all devices: what is compared
    comes from one device then. Otherwise a group, or several whose jobs share one worker.
    """
    sizes = {group.first.image_size for group in groups}
    if len(sizes) >= devices > 1:
        ordered = sorted(groups, key=lambda group: (group.first.round, -group.first.image_size))
        return _join(ordered, lambda before, job: before.round == job.round and before.image_size == job.image_size)
    return _join(groups, may_share_worker)


def _join(groups: Iterable[Group], together: Callable[[Job, Job], bool]) -> list[Unit]:
    units: list[Unit] = []
    for group in groups:
        if units and together(units[-1][-1], group.first):
            units[-1].extend(group.jobs)
        else:
            units.append(list(group.jobs))
    return units


@dataclass
class Board:
    """Units that wait, and the jobs each device has still to answer, the one it measures first."""

    waiting: deque[Unit]
    running: dict[str, Unit] = field(default_factory=dict)
    losses: Counter[Job] = field(default_factory=Counter)

    def assign(self, device: str) -> Unit | None:
        """The next unit, now that of `device`; None when nothing waits."""
        if not self.waiting:
            return None
        self.running[device] = self.waiting.popleft()
        return list(self.running[device])

    def accept(self, device: str, row: Row, run_id: str, machine: str) -> None:
        """Cross the row's job off. Raises SchemaError when nobody waits for such a row from this device."""
        left = self.running.get(device, [])
        if row.run_id != run_id or row.options.get("machine") != device or row.device != machine:
            raise SchemaError(f"a row of {row.device} ({row.options.get('machine')}) in run {row.run_id}")
        if row.job not in left:
            raise SchemaError(f"a row of a job that was not asked for: {row.job}")
        left.remove(row.job)

    def finish(self, device: str) -> None:
        """The device says it is done: what it did not answer waits again."""
        left = self.running.pop(device, [])
        if left:
            self.waiting.appendleft(left)

    def lose(self, device: str) -> Job | None:
        """The device is gone: its jobs wait again, but for one that was lost too often, which is returned."""
        left = self.running.pop(device, [])
        if not left:
            return None
        self.losses[left[0]] += 1
        culprit = left.pop(0) if self.losses[left[0]] >= MAX_LOSSES else None
        if left:
            self.waiting.appendleft(left)
        return culprit

    @property
    def done(self) -> bool:
        """Whether no job is without its row."""
        return not self.waiting and not any(self.running.values())
