"""What samples of a GPU say of an interval: pure functions. Times are seconds of the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from harness.nvml import CLOCK_REASONS, name_clock_reasons

ENERGY_WINDOW_S = 2.0  # the energy counter advances about every 0.1 s
MOST_POINTS = 600  # of a job's time series: a minute at the sampling period
SLOWDOWNS = {CLOCK_REASONS[bit] for bit in (0x8, 0x20, 0x40, 0x80)}
MEANS = {
    "gpu_utilization_percent": "utilization_percent",
    "memory_utilization_percent": "memory_utilization_percent",
    "sm_clock_mhz": "sm_clock_mhz",
    "memory_clock_mhz": "memory_clock_mhz",
    "power_w": "power_w",
}


@dataclass(frozen=True)
class Sample:
    """One look at the GPU; None = not to be had. `energy_mj` counts on from some moment, in millijoule."""

    at_s: float
    utilization_percent: float | None = None
    memory_utilization_percent: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    clock_reasons: int | None = None
    energy_mj: float | None = None
    used_mb: float | None = None
    processes: dict[int, float | None] | None = None


def summarise_state(samples: list[Sample]) -> dict[str, Any]:
    """Means, lowest SM clock, highest temperature, every clock reason seen; a key is absent without readings."""
    found: dict[str, Any] = {}
    for key, name in MEANS.items():
        values = _known(samples, name)
        if values:
            found[key] = sum(values) / len(values)
    for key, name, choose in (("sm_clock_min_mhz", "sm_clock_mhz", min), ("temperature_c", "temperature_c", max)):
        values = _known(samples, name)
        if values:
            found[key] = choose(values)
    reasons = _known(samples, "clock_reasons")
    if reasons:
        bits = int(np.bitwise_or.reduce(np.array(reasons, dtype=np.uint64)))
        found["throttle_reasons"] = ",".join(name_clock_reasons(bits))
    return found


def make_series(samples: list[Sample], begin_s: float) -> dict[str, list[float | None]]:
    """The samples as columns: `at_s` counts from `begin_s`, the others are MEANS and temperature_c, used_mb.

    At most MOST_POINTS of them, evenly spaced, the first and the last among them. A reading that was not to be had is
    None; a column without any is absent.
    """
    if len(samples) > MOST_POINTS:
        samples = [samples[i] for i in np.linspace(0, len(samples) - 1, MOST_POINTS).round().astype(int)]
    named = {**MEANS, "temperature_c": "temperature_c", "gpu_memory_used_mb": "used_mb"}
    columns = {key: [_rounded(getattr(sample, name)) for sample in samples] for key, name in named.items()}
    known = {key: values for key, values in columns.items() if any(value is not None for value in values)}
    return {"at_s": [round(sample.at_s - begin_s, 3) for sample in samples], **known} if known else {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def summarise_processes(
    samples: list[Sample],
    baseline: Sample,
    own: Collection[int],
    name_process: Callable[[int], str | None],
    waiting: Collection[Collection[int]] = (),
    *,
    earlier: Sequence[Sample] = (),
) -> dict[str, Any]:
    """Peak memory of the worker and the number of others on the GPU; `own` = the worker's pids.

    `waiting` = the pids of each of our workers that wait meanwhile: they are no others. `earlier` = samples of the same
    job before these: of them the memory counts, as a search of algorithms may take more than what it finds.
    Where the driver's pids are of another namespace than ours, the worker and those that wait are what came after
    `baseline`, and its memory is what the device holds more than then; `gpu_memory_source` says which. Absent where
    workers wait, whose memory nobody can tell from its own.
    """
    found = _find_peak_memory([*earlier, *samples], baseline, own, alone=not waiting)
    listed = [sample.processes for sample in samples if sample.processes]
    if any(pid in p for p in listed for pid in own):
        others = set().union(*listed) - set(own).union(*waiting)
        found["other_processes"] = len(others)
        names = sorted({name_process(pid) or f"process {pid}" for pid in others})
        if names:
            found["other_process_names"] = ", ".join(names)
    elif listed:
        before = set(baseline.processes or ())
        ours = 1 + len(waiting)
        found["other_processes"] = max(len(before & set(p)) + max(0, len(set(p) - before) - ours) for p in listed)
    return found


def _find_peak_memory(samples: list[Sample], baseline: Sample, own: Collection[int], *, alone: bool) -> dict[str, Any]:
    """As listed by the driver; else, where no other worker of ours holds any, by the device's growth."""
    listed = [sample.processes for sample in samples if sample.processes]
    held = [[mb for pid in own if (mb := p.get(pid)) is not None] for p in listed]
    used = _known(samples, "used_mb")
    if any(held):
        return {"gpu_process_memory_mb": max(map(sum, held)), "gpu_memory_source": "process"}
    if used and baseline.used_mb is not None and alone:
        return {"gpu_process_memory_mb": max(used) - baseline.used_mb, "gpu_memory_source": "device_minus_baseline"}
    return {}


def find_energy_j(samples: list[Sample], begin_s: float, end_s: float) -> float | None:
    """Energy of the interval, interpolated at its ends; None when it is short or not enclosed by readings."""
    known = [(sample.at_s, sample.energy_mj) for sample in samples if sample.energy_mj is not None]
    if end_s - begin_s < ENERGY_WINDOW_S or not known or known[0][0] > begin_s or known[-1][0] < end_s:
        return None
    at_s, energy_mj = zip(*known, strict=True)
    begin_mj, end_mj = np.interp([begin_s, end_s], at_s, energy_mj)
    return float(end_mj - begin_mj) / 1000 or None


def find_gap_s(times_s: list[float], begin_s: float, end_s: float, period_s: float) -> float:
    """Seconds of the interval that lie between two samples more than two periods apart; `times_s` ascend.

    Before the first sample and after the last one, the interval's own end takes the place of the missing sample.
    """
    inside = [t for t in times_s if begin_s < t < end_s]
    first = max((t for t in times_s if t <= begin_s), default=begin_s)
    last = min((t for t in times_s if t >= end_s), default=end_s)
    edges = [first, *inside, last]
    return sum(
        min(later, end_s) - max(earlier, begin_s)
        for earlier, later in pairwise(edges)
        if later - earlier > 2 * period_s
    )


def find_disturbance(summary: dict[str, Any]) -> str:
    """Why timings of this interval are not the card's own; empty when nothing disturbed them.

    The software power cap is the normal state of a saturated card, and clocks that somebody set are a setting.
    """
    slow = [name for name in summary.get("throttle_reasons", "").split(",") if name in SLOWDOWNS]
    if slow:
        temperature = f" at {summary['temperature_c']:.0f} C" if "temperature_c" in summary else ""
        return f"the GPU slowed itself down: {', '.join(slow)}{temperature}"
    others = summary.get("other_processes", 0)
    if others:
        names = summary.get("other_process_names")
        return f"{others} other process{'es' * (others > 1)} on the GPU" + (f": {names}" if names else "")
    return ""


def _known(samples: list[Sample], name: str) -> list[Any]:
    return [value for sample in samples if (value := getattr(sample, name)) is not None]
