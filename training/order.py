"""Chance in training: a function of the run's seed, the epoch and the image, so that it does not matter when or where.

A resumed run draws what an unbroken one draws, and so does one with another number of loader processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler


class Draw(NamedTuple):
    """An image to load: its number in the data set, and the `epoch_seed` of what is random in it this time."""

    image: int
    epoch_seed: int


def derive_seed(*numbers: int) -> int:
    """A seed (63 bits) of non-negative `numbers`, by NumPy's SeedSequence: unlike seeds for similar numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class EpochOrder(RandomSampler):
    """`images` indices of `dataset` in an order that `epoch_seed`, asked at the start of every epoch, decides alone."""

    def __init__(self, dataset: Sized, images: int, epoch_seed: Callable[[], int]) -> None:
        super().__init__(dataset, num_samples=images, generator=torch.Generator())
        self.epoch_seed = epoch_seed

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.epoch_seed())
        return super().__iter__()


class Draws(Sampler[list[Draw]]):
    """The indices of `batches` as Draws: so the epoch reaches loader processes that outlive it."""

    def __init__(self, batches: Sampler[list[int]], epoch_seed: Callable[[], int]) -> None:
        self.batches, self.epoch_seed = batches, epoch_seed

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Draw]]:
        seed = self.epoch_seed()
        for batch in self.batches:
            yield [Draw(index, seed) for index in batch]
