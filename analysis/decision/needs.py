"""What a deployment needs: limits that a configuration must keep, and the scope it is chosen from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.load import InputError

Objective = Literal["fps", "host_ms", "energy"]
SHARES = ("min_accuracy", "max_accuracy_drop")
ROUNDING = 1e-9  # of a limit: 1 - 0.99 is a little over 0.01
AMOUNTS = ("max_host_ms", "min_fps", "max_gpu_memory_mb", "max_cpu_memory_mb")
SCOPES = {"image_sizes": "image_size", "batch_sizes": "batch_size", "backends": "backend", "precisions": "precision"}


@dataclass(frozen=True)
class Limit:
    """One need. `flag` names it and, less its `min_` or `max_`, the attribute of an option that it bounds."""

    flag: str
    value: float

    @property
    def at_most(self) -> bool:
        """Whether the value is an upper bound."""
        return self.flag.startswith("max_")

    @property
    def is_share(self) -> bool:
        """Whether the value is a share 0..1."""
        return self.flag in SHARES

    def read(self, option: Any) -> float | None:
        """What the option has; None when it was not recorded."""
        value = getattr(option, self.flag.partition("_")[2])
        return None if value is None or math.isnan(value) else float(value)

    def excess(self, option: Any) -> float:
        """By how much of the limit the option misses it: 0 when it keeps it, inf when nothing was recorded."""
        value = self.read(option)
        if value is None:
            return math.inf
        missing = (value - self.value if self.at_most else self.value - value) / (self.value or 1.0)
        return missing if missing > ROUNDING else 0.0

    def relaxed(self, value: float) -> float:
        """The limit that lets `value` pass, at three significant digits, rounded to the loose side."""
        near = float(f"{value:.3g}")
        if (near >= value) if self.at_most else (near <= value):
            return near
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
        return float(f"{near + (step if self.at_most else -step):.3g}")


@dataclass(frozen=True)
class Needs:
    """What was asked for; None or empty: no such need. Raises InputError naming the flag.

    `requests_per_second` and `p99_ms` (latency of 99% of requests, queueing included) come together or not at all.
    """

    objective: Objective = "fps"
    max_host_ms: float | None = None
    min_fps: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float = 0.01
    max_gpu_memory_mb: float | None = None
    max_cpu_memory_mb: float | None = None
    image_sizes: list[int] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    backends: list[str] = field(default_factory=list)
    precisions: list[str] = field(default_factory=list)
    requests_per_second: float | None = None
    p99_ms: float | None = None

    def __post_init__(self) -> None:
        for flag in (*AMOUNTS, "requests_per_second", "p99_ms"):
            value = getattr(self, flag)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"--{flag} {value:g}: must be over 0")
        for flag in SHARES:
            value = getattr(self, flag)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"--{flag} {value:g}: is a share of images; write for example 0.9 for 90%")
        if (self.requests_per_second is None) != (self.p99_ms is None):
            missing = "p99_ms" if self.p99_ms is None else "requests_per_second"
            raise InputError(f"--{missing}: --requests_per_second and --p99_ms are needed together")

    @property
    def limits(self) -> list[Limit]:
        """The limits that were given; that of the accuracy drop always is."""
        return [Limit(flag, value) for flag in (*AMOUNTS, *SHARES) if (value := getattr(self, flag)) is not None]

    def outside(self, option: Any) -> list[str]:
        """The flags whose scope leaves this option out; empty when it is in scope."""
        scopes = ((flag, name, getattr(self, flag)) for flag, name in SCOPES.items())
        return [flag for flag, name, asked in scopes if asked and getattr(option.key, name) not in asked]

    def check_scope(self, keys: Iterable[Any]) -> None:
        """Raises InputError when a scope names something that the run did not try."""
        tried = list(keys)
        for flag, name in SCOPES.items():
            known = sorted({getattr(key, name) for key in tried})
            for value in getattr(self, flag):
                if value not in known:
                    there = ", ".join(map(str, known))
                    raise InputError(f"--{flag} {value}: not measured in this run; there are {there}")
