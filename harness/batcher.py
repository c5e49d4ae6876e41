"""The simplest dynamic batcher: what waits is served together, no request waits longer for company than it must.

Standard library and NumPy only, Python 3.10: imported by workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Serve = Callable[[int, int], None]  # (first, count): answer these requests; returns when the answers are there


class Timer(Protocol):
    """Seconds from an arbitrary origin, and waiting for a moment of it."""

    def now_s(self) -> float:
        """Now."""
        ...

    def wait_until(self, moment_s: float) -> None:
        """Return at that moment or a little later; at once when it has passed."""
        ...


class WallTimer:
    """The monotonic clock; a sleeping server wakes up some 0.1 ms late, and its requests have waited for that."""

    def now_s(self) -> float:
        """See Timer."""
        return time.perf_counter()

    def wait_until(self, moment_s: float) -> None:
        """See Timer."""
        time.sleep(max(0.0, moment_s - time.perf_counter()))


@dataclass(frozen=True)
class Served:
    """What became of n requests, in s from the start: `arrived` (n,), `done` (n,); and batch by batch `sizes` (m,)."""

    arrived: np.ndarray
    done: np.ndarray
    sizes: np.ndarray


def serve_arrivals(arrivals: np.ndarray, serve: Serve, max_batch: int, delay_s: float, timer: Timer) -> Served:
    """Serve requests in order as they arrive (`arrivals`: s from the start, ascending), until all are answered.

    Whenever the device is free: a batch of what has arrived is begun when it is full or its oldest request has waited
    for `delay_s`. Latency counts from the planned arrival, so a server that is late does not hide it.
    """
    count = len(arrivals)
    done = np.empty(count)
    sizes = []
    first = 0
    origin = timer.now_s()
    while first < count:
        candidates = arrivals[first : first + max_batch]
        full_s = candidates[-1] if len(candidates) == max_batch else np.inf
        timer.wait_until(origin + min(full_s, candidates[0] + delay_s))
        waiting = int(np.searchsorted(candidates, timer.now_s() - origin, side="right"))
        size = max(1, waiting)
        serve(first, size)
        done[first : first + size] = timer.now_s() - origin
        sizes.append(size)
        first += size
    return Served(arrivals, done, np.array(sizes))


def choose_size(count: int, prepared: Sequence[int]) -> int:
    """The smallest prepared batch size that holds `count` images. `prepared` ascends and its last is enough."""
    return next(size for size in prepared if size >= count)
