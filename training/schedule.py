"""The learning rate over a run: linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math


def warmup_cosine(step: int, total_steps: int, warmup_steps: int) -> float:
    """Factor on the peak learning rate at `step` (0-based) of `total_steps`.

    Rises by equal steps to 1 over `warmup_steps`, then follows (1 + cos(pi t)) / 2 with t from 0 to 1 over what is
    left, and stays 0 afterwards (Loshchilov and Hutter, SGDR, 2017).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= total_steps:
        return 0.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))
