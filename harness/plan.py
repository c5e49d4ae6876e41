"""Which jobs, in which order. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.config import BenchConfig
from harness.schema import AGAIN, BASELINE, Job

KEPT_TOGETHER = {  # by `order`: what jobs have in common that one worker may take
    "size": ("backend", "variant", "precision"),
    "contender": ("backend", "variant", "precision"),
    "variant": ("backend", "variant"),
    "backend": ("backend",),
}


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

    The first round goes as configured (`order`), later ones in an order shuffled by the round's number, so that drift
    of the machine does not always meet the same contender. Sizes of one contender stay together under `order:
    contender`, its precisions beside them under `order: variant`, and all of a backend under `order: backend`.
    """
    for number in range(1, config.rounds + 1):
        for size, contender in make_order(config, sorted(set(image_sizes)), number):
            yield from _group(config, contender, size, number, contender)
        if config.self_check:
            backend, variant, precision = first = config.contenders[0]
            yield from _group(config, first, min(image_sizes), number, (backend, variant + AGAIN, precision))


def _group(
    config: BenchConfig, contender: tuple[str, str, str], size: int, number: int, name: tuple[str, str, str]
) -> Iterator[Group]:
    """The jobs of `contender` that are wanted, under `name`; nothing when none is."""
    jobs = tuple(Job(*name, size, batch, number) for batch in config.batches if config.wants(contender, size, batch))
    if jobs:
        yield Group(jobs)


def make_order(config: BenchConfig, sizes: list[int], number: int) -> list[tuple[int, tuple[str, str, str]]]:
    """(image size, contender) in the order of round `number`."""
    shuffle = random.Random(number).shuffle if number > 1 else lambda order: None  # noqa: S311 - not a secret
    if config.order == "size":
        order = list(itertools.product(sizes, config.contenders))
        shuffle(order)
        return order
    contenders = config.contenders
    shuffle(contenders)
    shared = len(KEPT_TOGETHER[config.order])
    families = list(dict.fromkeys(contender[:shared] for contender in contenders))
    contenders.sort(key=lambda contender: families.index(contender[:shared]))
    return [(size, contender) for contender in contenders for size in sizes]


def may_share_worker(before: Job, job: Job, config: BenchConfig) -> bool:
    """Whether the worker of one group may go on with the other: they share what `config.order` keeps together.

    Never for the self-check, which is to find what a new process changes.
    """
    if AGAIN in before.variant + job.variant or before.round != job.round:
        return False
    models = [(each.variant, each.image_size, each.precision) for each in (before, job)]
    return models[0] != models[1] and all(
        getattr(before, name) == getattr(job, name) for name in KEPT_TOGETHER[config.order]
    )


def is_same(before: Job, job: Job) -> bool:
    """Whether they differ in batch size at most."""
    return replace(before, batch_size=job.batch_size) == job


def drop_done(groups: Iterator[Group], done: set[Job]) -> list[Group]:
    """What is left to measure when `done` jobs have their rows."""
    left = (tuple(job for job in group.jobs if job not in done) for group in groups)
    return [Group(jobs) for jobs in left if jobs]


def has_saturated(contender: str, ms_per_image: list[float], percent: float) -> bool:
    """Whether the last two batch sizes both failed to raise FPS by `percent` over the best before them; 0: never.

    Never for the baseline: what is faster would have no speedup at the batch sizes that it lacks.
    """
    if not percent or len(ms_per_image) < 3 or contender == "/".join(BASELINE):
        return False
    return min(ms_per_image[:-2]) / min(ms_per_image[-2:]) < 1 + percent / 100


# Of a worker's start and one cell's sampling, what an image of 224 x 224 px adds: seen on a 2-core CPU and on an H200.
WORK_PER_IMAGE = {"cpu": 1 / 4, "cuda": 1 / 128}


def estimate_work(job: Job, kind: str) -> float:
    """Relative time of a job on `kind` (cpu or cuda), for the progress line: a constant and a part for its pixels."""
    return 1.0 + WORK_PER_IMAGE[kind] * job.batch_size * (job.image_size / 224) ** 2
