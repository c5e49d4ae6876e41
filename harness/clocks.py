"""Clocks: how long one inference takes on a device. Every clock answers in milliseconds.

Standard library only (CUDA events come from torch, when there is a GPU), Python 3.10: imported by workers.
"""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

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


class CudaEventClock:
    """CUDA events on torch's current stream, around each inference (resolution about 0.5 us).

    Events bracket only work of the stream they are recorded on: a backend must enqueue on that stream. It is made here,
    because libraries take the default stream's handle, 0, for "none given" and then use one of their own. On an idle
    stream the first event would be stamped before the host has launched anything, so each window starts with an
    inference that is not timed; `queue` bounds how far the host may run ahead. `cuda` is torch.cuda, or a fake of it.
    """

    name = "cuda_events"

    def __init__(self, cuda: Any, queue: int = 32) -> None:
        self.cuda = cuda
        cuda.set_stream(cuda.Stream())
        self.queue = queue

    def window(self, run: Callable[[], None], count: int) -> Window:
        """See Clock. The wall clock counts the untimed inference as one of the timed ones."""
        events = [(self.cuda.Event(enable_timing=True), self.cuda.Event(enable_timing=True)) for _ in range(count)]
        self.cuda.synchronize()
        begin = self.now_ms()
        run()
        for index, (start, end) in enumerate(events):
            start.record()
            run()
            end.record()
            if index >= self.queue:
                events[index - self.queue][1].synchronize()
        self.cuda.synchronize()
        wall_ms = (self.now_ms() - begin) * count / (count + 1)
        return Window([start.elapsed_time(end) for start, end in events], wall_ms)

    def now_ms(self) -> float:
        """See Clock."""
        return time.perf_counter_ns() / NS_PER_MS


def make_clock(device: str) -> Clock:
    """The clock of a device kind, "cpu" or "cuda"."""
    return CudaEventClock(importlib.import_module("torch.cuda")) if device == "cuda" else CpuClock()
