"""How hard the machine worked, for the report: every measure of load side by side, energy, limiters, boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.findings import Line, lines
from analysis.roofline import WINOGRAD
from analysis.study import Study

LOADS = {
    "nvml": "gpu_utilization_percent",
    "sm": "sm_activity_percent",
    "tensor": "tensor_activity_percent",
    "dram": "dram_activity_percent",
    "mfu_peak": "mfu_peak_percent",
    "mfu_ceiling": "mfu_ceiling_percent",
    "roofline": "roofline_percent",
}
STEADY = "sw_power_cap"  # the normal state of a saturated card
OVER = 1.02  # times the power limit: more than readings of a card that is held there differ by


def hardware_facts(study: Study, best: Sequence[Line]) -> dict[str, Any]:
    """`best`: each contender at its best batch, at one image size. What was not measured is None or empty."""
    return {
        "device": study.device,
        "peak": study.hardware.peak,
        "ceilings": _ceilings(study),
        "copy_gb_per_s": study.hardware.copy_gb_per_s,
        "loads": _loads(best),
        "most_loaded": max((line for line in best if _has(line, "roofline_percent")), key=_roofline, default=None),
        "energy": sorted((line for line in best if _has(line, "energy_j_per_image")), key=_energy),
        "without_energy": sum(not _has(line, "energy_j_per_image") for line in best),
        "state": _state(study.ranked, _power_limit(study)),
        "limiters": _limiters(study.ranked),
        "winograd": WINOGRAD,
        "above": lines(study.ranked[study.ranked["above_bound"].map(lambda value: value is True).astype(bool)]),
        "boundaries": [line for line in best if study.device_kind == "cuda" and _has(line, "host_ms")],
        "gap_s": _sum(study.ranked, "telemetry_gap_s"),
        "window_s": _sum(study.ranked, "load_window_s"),
        "flushed": _flushed(study),
        "sheet": _sheet(study.run.audit),
    }


def _has(line: Line, column: str) -> bool:
    value = line.get(column)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _roofline(line: Line) -> float:
    return float(line["roofline_percent"])


def _energy(line: Line) -> float:
    return float(line["energy_j_per_image"])


def _ceilings(study: Study) -> list[dict[str, Any]]:
    """Measured and published TFLOP/s by precision."""
    hardware = study.hardware
    peaks = hardware.peak.tflops if hardware.peak else {}
    return [
        {"precision": name, "measured": hardware.measured.get(name), "published": peaks.get(name)}
        for name in ("fp32", "tf32", "fp16", "bf16", "int8")
        if name in hardware.measured or name in peaks
    ]


def _loads(best: Sequence[Line]) -> dict[str, Any]:
    """The measures that any of the lines has, and their values; empty when no counter beyond speed was read."""
    names = [name for name, column in LOADS.items() if any(_has(line, column) for line in best)]
    table = [
        {"line": line, "readings": [line[LOADS[name]] if _has(line, LOADS[name]) else None for name in names]}
        for line in best
    ]
    return {"names": names, "lines": table}


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    values = table[name] if name in table else pd.Series(dtype=float)
    return pd.to_numeric(values, errors="coerce").dropna()


def _sum(table: pd.DataFrame, name: str) -> float | None:
    values = _column(table, name)
    return float(values.sum()) if len(values) else None


def _power_limit(study: Study) -> float | None:
    """Of the card, in W, as machine.json has it."""
    gpu = study.run.machine.get("gpu")
    limit = gpu.get("power_limit_w") if isinstance(gpu, dict) else None
    return float(limit) if isinstance(limit, (int, float)) and limit > 0 else None


def _state(table: pd.DataFrame, limit_w: float | None) -> dict[str, Any] | None:
    """Clock, power and throttle reasons over all cells; None where the clock was not read.

    `over`: cells that drew more than `limit_w`, as a card does until it is held back.
    """
    clock = _column(table, "sm_clock_mhz")
    if clock.empty:
        return None
    reasons = table["throttle_reasons"].dropna() if "throttle_reasons" in table else pd.Series(dtype=str)
    cells: dict[str, int] = {}
    for text in reasons:
        for reason in filter(None, (part.strip() for part in str(text).split(","))):
            cells[reason] = cells.get(reason, 0) + 1
    power, heat = _column(table, "power_w"), _column(table, "temperature_c")
    return {
        "slowest_mhz": float(clock.min()),
        "fastest_mhz": float(clock.max()),
        "power_w": float(power.max()) if len(power) else None,
        "limit_w": limit_w,
        "over": int((power > OVER * limit_w).sum()) if limit_w else 0,
        "temperature_c": float(heat.max()) if len(heat) else None,
        "capped": cells.pop(STEADY, 0),
        "others": sorted(cells.items()),
    }


def _limiters(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Cells by limiter, per image size, in the batches that have it."""
    known = table[table["limiter"].map(lambda value: isinstance(value, str) and value != "").astype(bool)]
    return [
        {
            "size": int(str(size)),
            "batch": int(str(batch)),
            **{name: int((part["limiter"] == f"{name}-bound").sum()) for name in ("launch", "bandwidth", "compute")},
            "transfer": int(part["transfer_bound"].map(lambda value: value is True).sum()),
        }
        for (size, batch), part in known.groupby(["image_size", "batch_size"], sort=True)
    ]


def _flushed(study: Study) -> bool | None:
    found = {row.options["l2_flush"] for row in study.run.rows if isinstance(row.options.get("l2_flush"), bool)}
    return found.pop() if len(found) == 1 and study.device_kind == "cuda" else None


def _sheet(audit: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the wall clock went, longest first."""
    sheet = audit.get("time_sheet_s")
    wall = sheet.get("wall") if isinstance(sheet, dict) else None
    if not isinstance(sheet, dict) or not isinstance(wall, (int, float)) or wall <= 0:
        return []
    spent = {name: value for name, value in sheet.items() if name not in ("wall", "parent_cpu") and value}
    return [
        {"name": name, "seconds": value, "share": value / wall}
        for name, value in sorted(spent.items(), key=lambda item: -item[1])
    ]
