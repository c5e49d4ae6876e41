"""Where the wall clock of a run went."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class TimeSheet:
    """Seconds by what they were spent on; `measuring` is the time of the samples of every boundary.

    `idle`: of devices for which nothing was left to measure while others were at work.
    """

    calibrating: float = 0.0
    importing: float = 0.0
    loading: float = 0.0
    building: float = 0.0
    parity: float = 0.0
    warm_up: float = 0.0
    measuring: float = 0.0
    idle: float = 0.0
    wall: float = 0.0
    parent_cpu: float = 0.0

    def add(self, telemetry: dict[str, float]) -> None:
        """Add what a worker reports of one job."""
        self.building += telemetry["build_s"]
        self.parity += telemetry["parity_s"]
        self.warm_up += telemetry["warmup_s"]
        self.measuring += telemetry["measuring_s"]

    def to_dict(self) -> dict[str, float]:
        """As kept in audit.json, with `other` = starting and ending workers, writing rows, answers between windows."""
        times = asdict(self)
        known = sum(seconds for name, seconds in times.items() if name not in ("wall", "parent_cpu"))
        return {**times, "other": self.wall - known}
