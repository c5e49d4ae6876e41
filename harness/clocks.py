"""Clocks: how long one inference takes on a device. Every clock answers in milliseconds.

Standard library only, Python 3.10: imported by workers.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Window:
    """`count` inferences back to back: each one's time, and the wall clock from the first call to the last result."""

    samples_ms: list[float]
    wall_ms: float


class Clock(Protocol):
    """Times calls of `run`, which enqueues one inference and may return before the device is done."""

    name: str

    def window(self, run: Callable[[], None], count: int) -> Window:
        """Time `count` calls back to back, the next always enqueued without waiting for a result by the caller."""
        ...

    def now_ms(self) -> float:
        """Wall clock from an arbitrary origin."""
        ...


class CpuClock:
    """Monotonic clock around a `run` that returns when the work is done (`time.perf_counter_ns`, about 50 ns a call).

    One inference ends where the next begins, so the samples of a window add up to its wall clock.
    """

    name = "cpu"

    def window(self, run: Callable[[], None], count: int) -> Window:
        """See Clock."""
        read = time.perf_counter_ns
        marks = [read()]
        for _ in range(count):
            run()
            marks.append(read())
        samples = [(after - before) / NS_PER_MS for before, after in itertools.pairwise(marks)]
        return Window(samples, (marks[-1] - marks[0]) / NS_PER_MS)

    def now_ms(self) -> float:
        """See Clock."""
        return time.perf_counter_ns() / NS_PER_MS
