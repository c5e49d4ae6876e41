"""The settings of a serving check, beside those of BenchConfig. Touches neither files nor devices."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerConfig:
    """How requests arrive, how long they may wait, and for how long this is watched.

    Args:
        rate: With --scenario server: requests per second. null: the highest that keeps the limit is searched for, then
            80% and 120% of it are checked.
        batch_delay_ms: With --scenario server: longest time that a request waits for others to share its batch, in ms.
        p99_limit_ms: With --scenario server: 99% of the requests must be answered within this time, in ms; a later
            answer counts as missed.
        serve_seconds: With --scenario server: time for which requests arrive in a check, in s; --job_timeout_s counts
            from its end.
        search_seconds: With --scenario server: the same for each step of the search, in s.
        seed: With --scenario server: of the arrivals.
    """

    rate: float | None = None
    batch_delay_ms: float = 2.0
    p99_limit_ms: float = 100.0
    serve_seconds: float = 30.0
    search_seconds: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"--{name} {value}: must be a finite number")
        for name in ("rate", "p99_limit_ms", "serve_seconds", "search_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"--{name} {value}: must be over 0")
        for name in ("batch_delay_ms", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)}: must be 0 or more")
