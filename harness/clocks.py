"""Clocks: how long one inference takes on a device. Every clock answers in milliseconds.

Standard library only (CUDA events come from torch, when there is a GPU), Python 3.10: imported by workers.
"""

from __future__ import annotations

import importlib
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

NS_PER_MS = 1_000_000
# A driver holds about 1,000 launches and then lets the host wait for the device, inside the call: in a long window most
# calls take as long as the device. The first ones of a window find its queue empty.
FREE_CALLS = 4


@dataclass(frozen=True)
class Window:
    """`count` inferences back to back: each one's time, and the wall clock from the first call to the last result.

    `enqueue_ms`: median host time of the first calls of `run` where that only enqueues (FREE_CALLS); None where it does
    the work itself.
    """

    samples_ms: list[float]
    wall_ms: float
    enqueue_ms: float | None = None


class Clock(Protocol):
    """Times calls of `run`, which enqueues one inference and may return before the device is done."""

    name: str

    def window(self, run: Callable[[], None], count: int) -> Window:
        """Time `count` calls back to back, the next always enqueued without waiting for a result by the caller."""
        ...

    def wait_each(self, run: Callable[[], None], count: int) -> list[float]:
        """Wall clock of `count` calls, each from the call to its result: what a caller at concurrency 1 waits."""
        ...

    def stream(self, run: Callable[[], None], count: int) -> float:
        """Wall clock of `count` calls with the next always enqueued and nothing recorded in between."""
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

    def wait_each(self, run: Callable[[], None], count: int) -> list[float]:
        """See Clock."""
        return self.window(run, count).samples_ms

    def stream(self, run: Callable[[], None], count: int) -> float:
        """See Clock."""
        return self.window(run, count).wall_ms

    def now_ms(self) -> float:
        """See Clock."""
        return time.perf_counter_ns() / NS_PER_MS


class CudaEventClock:
    """CUDA events on torch's current stream, around each inference (resolution about 0.5 us).

    Events bracket only work of the stream they are recorded on: a backend must enqueue on that stream. It is made here,
    because libraries take the default stream's handle, 0, for "none given" and then use one of their own. On an idle
    stream the first event would be stamped before the host has launched anything, so each window starts with an
    inference that is not timed; `queue` bounds how far the host may run ahead. `cuda` is torch.cuda, or a fake of it.

    Back to back, an inference finds in the L2 cache what the one before left there. With a `flush` (enqueues the
    overwriting of that cache) every sample starts cold; the flush is outside the events and outside `wall_ms`.
    """

    name = "cuda_events"

    def __init__(self, cuda: Any, queue: int = 32, flush: Callable[[], None] | None = None) -> None:
        self.cuda = cuda
        cuda.set_stream(cuda.Stream())
        self.queue = queue
        self.flush_ms = 0.0
        self.flush: Callable[[], None] | None = None
        if flush:
            self.flush_ms = statistics.median(self.window(flush, 20).samples_ms)
            self.flush = flush

    def window(self, run: Callable[[], None], count: int) -> Window:
        """See Clock. The wall clock counts the untimed inference as one of the timed ones."""
        events = [(self.cuda.Event(enable_timing=True), self.cuda.Event(enable_timing=True)) for _ in range(count)]
        enqueue_ms = []
        self.cuda.synchronize()
        begin = self.now_ms()
        run()
        for index, (start, end) in enumerate(events):
            if self.flush:
                self.flush()
            start.record()
            called = self.now_ms()
            run()
            enqueue_ms.append(self.now_ms() - called)
            end.record()
            if index >= self.queue:
                events[index - self.queue][1].synchronize()
        self.cuda.synchronize()
        wall_ms = self.now_ms() - begin
        wall_ms -= count * self.flush_ms
        samples = [start.elapsed_time(end) for start, end in events]
        return Window(samples, wall_ms * count / (count + 1), statistics.median(enqueue_ms[:FREE_CALLS]))

    def wait_each(self, run: Callable[[], None], count: int) -> list[float]:
        """See Clock."""
        samples = []
        self.cuda.synchronize()
        for _ in range(count):
            called = self.now_ms()
            run()
            self.cuda.synchronize()
            samples.append(self.now_ms() - called)
        return samples

    def stream(self, run: Callable[[], None], count: int) -> float:
        """See Clock. The host waits once for every half `queue`, with the other half still ahead of the device."""
        half = max(1, self.queue // 2)
        marks: list[Any] = []
        self.cuda.synchronize()
        begin = self.now_ms()
        for index in range(count):
            run()
            if (index + 1) % half == 0:
                marks.append(self.cuda.Event(enable_timing=False))
                marks[-1].record()
                if len(marks) > 1:
                    marks[-2].synchronize()
        self.cuda.synchronize()
        return self.now_ms() - begin

    def now_ms(self) -> float:
        """See Clock."""
        return time.perf_counter_ns() / NS_PER_MS


def make_clock(device: str, *, l2_flush: bool = False) -> Clock:
    """The clock of a device kind, "cpu" or "cuda". `l2_flush` has no meaning on a CPU."""
    if device == "cpu":
        return CpuClock()
    torch = importlib.import_module("torch")
    flush = None
    if l2_flush:
        size = 4 * torch.cuda.get_device_properties(0).L2_cache_size
        flush = torch.empty(size, dtype=torch.int8, device="cuda").zero_
    return CudaEventClock(torch.cuda, flush=flush)
