"""Optimisation profiles: ranges of batch sizes that kernels were chosen for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.backends.base import UnsupportedJob


class Profile(NamedTuple):
    """Kernels are tuned for `best` images, legal from `smallest` to `largest`. `number` counts from 0, as built."""

    number: int
    smallest: int
    best: int
    largest: int


def number_profiles(limits: Iterable[Sequence[int]]) -> list[Profile]:
    """Profiles from [smallest, best, largest] each."""
    return [Profile(number, *map(int, each)) for number, each in enumerate(limits)]


def choose_profile(profiles: Sequence[Profile], batch_size: int) -> Profile:
    """The narrowest profile that holds the batch size. Raises UnsupportedJob naming what there is."""
    fitting = [profile for profile in profiles if profile.smallest <= batch_size <= profile.largest]
    if not fitting:
        ranges = ", ".join(f"{profile.smallest}..{profile.largest}" for profile in profiles)
        raise UnsupportedJob(f"built for batches of {ranges}: export with another --engine_profiles")
    return min(fitting, key=lambda profile: (profile.largest - profile.smallest, abs(profile.best - batch_size)))
