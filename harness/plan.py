"""Which jobs, in which order. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from harness.config import BenchConfig
from harness.schema import AGAIN, Job


@dataclass(frozen=True)
class Group:
    """Jobs that one worker measures: they differ in batch size only, ascending."""

    jobs: tuple[Job, ...]

    @property
    def first(self) -> Job:
        """Any job of the group; all share backend, variant, precision, size and round."""
        return self.jobs[0]


def plan_groups(config: BenchConfig, image_sizes: list[int]) -> Iterator[Group]:
    """Groups of every round, each ended by the self-check.

    The first round goes by size and contender as configured, later ones in an order shuffled by the
    round's number, so that drift of the machine does not always meet the same contender.
    """
    batch_sizes = sorted(set(config.batch_sizes))
    for number in range(1, config.rounds + 1):
        order = list(itertools.product(sorted(set(image_sizes)), config.contenders))
        if number > 1:
            random.Random(number).shuffle(order)  # noqa: S311 - an order, not a secret
        for size, contender in order:
            yield Group(tuple(Job(*contender, size, batch, number) for batch in batch_sizes))
        if config.self_check:
            backend, variant, precision = config.contenders[0]
            again = (backend, variant + AGAIN, precision, min(image_sizes))
            yield Group(tuple(Job(*again, batch, number) for batch in batch_sizes))


def drop_done(groups: Iterator[Group], done: set[Job]) -> list[Group]:
    """What is left to measure when `done` jobs have their rows."""
    left = (tuple(job for job in group.jobs if job not in done) for group in groups)
    return [Group(jobs) for jobs in left if jobs]


def estimate_work(job: Job) -> float:
    """Relative time a job takes, for the progress line: a constant for start and sampling, and one for its pixels."""
    return 1.0 + job.batch_size * (job.image_size / 224) ** 2 / 4
