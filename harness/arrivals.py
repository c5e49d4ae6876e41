"""When requests arrive at a server. NumPy only, Python 3.10: imported by workers."""

from __future__ import annotations

import numpy as np


def draw_poisson(rate_per_s: float, seconds: float, seed: int) -> np.ndarray:
    """Arrival times in s, ascending, in [0, `seconds`) of a Poisson process; there may be none.

    Gaps are exponential with mean 1 / `rate_per_s` and independent, as in MLPerf's Server scenario.
    """
    rng = np.random.default_rng(seed)
    count = max(1, round(rate_per_s * seconds))
    times = np.cumsum(rng.exponential(1 / rate_per_s, count + 10 * int(count**0.5) + 10))
    return times[times < seconds]
