"""The loop of CUDA events that the stand-alone GPU programs here time with. It shares no code with the harness."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch


def time_ms(run: Callable[[], object], repetitions: int) -> float:
    """Median ms of repetitions back to back."""
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repetitions)]
    torch.cuda.synchronize()
    run()  # so that the stream is busy when the first event is recorded
    for start, end in pairs:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs)
