"""The summary table: one line per cell, every column named with its unit. Figures and reports are made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import RANKED, Cell, Key, ratio_interval
from analysis.columns import COLUMNS, PROCESS_MEMORY
from analysis.hardware import Hardware
from analysis.names import contender_label
from harness.schema import BASELINE

RATES = ("gpu_utilization_percent", "memory_utilization_percent")
LOOK_BACK_S = 1 / 6  # NVML's rates are of the past 1/6 s at least: nvmlUtilization_t in NVIDIA's API reference


def summarise(
    cells: Mapping[Key, Cell], val_accuracy: Mapping[int, float | None], hardware: Hardware | None = None
) -> pd.DataFrame:
    """The table of all cells, sorted as the cells are; COLUMNS first, then one column per telemetry value."""
    rows = [
        {**_identity(cell), **_times(cell, hardware or Hardware()), **_ratio(cell, cells), **_facts(cell, val_accuracy)}
        for cell in cells.values()
    ]
    telemetry = sorted({name for row in rows for name in row if name not in COLUMNS})
    return pd.DataFrame(rows, columns=[*COLUMNS, *telemetry])


def _identity(cell: Cell) -> dict[str, Any]:
    key = cell.key
    return {
        "contender": key.contender,
        "label": contender_label(key.backend, key.variant, key.precision),
        "backend": key.backend,
        "variant": key.variant,
        "precision": key.precision,
        "image_size": key.image_size,
        "batch_size": key.batch_size,
        "status": cell.status,
        "reason": cell.reason,
        "ranked": cell.ranked,
        "rounds": len(cell.rounds),
        "samples": int(cell.samples.size),
    }


def _times(cell: Cell, hardware: Hardware) -> dict[str, Any]:
    if not cell.ranked:
        return {}
    batch, mean, (low, high), samples = cell.key.batch_size, cell.mean_ms, cell.interval_ms, cell.samples
    median, p90, p95, p99 = np.percentile(samples, [50, 90, 95, 99])
    flops = next((row.flops_per_image for row in cell.rows if row.flops_per_image), None)
    fps = batch * 1000 / mean
    tflops_per_s, transfer_ms = flops * fps / 1e12 if flops else float("nan"), _mean_of(cell.boundary("transfer_ms"))
    return {
        "mean_ms": mean,
        "mean_low_ms": low,
        "mean_high_ms": high,
        "half_width_percent": (high - low) / 2 / mean * 100,
        "std_ms": stats.std(samples),
        "std_trimmed_ms": stats.trimmed_std(samples),
        "median_ms": median,
        "p90_ms": p90,
        "p95_ms": p95,
        "p99_ms": p99,
        "fps": fps,
        "fps_low": batch * 1000 / high,
        "fps_high": batch * 1000 / low if low > 0 else float("nan"),
        "ms_per_image": mean / batch,
        "ms_per_image_low": low / batch,
        "ms_per_image_high": high / batch,
        "transfer_ms": transfer_ms,
        "host_ms": _mean_of(cell.boundary("host_ms")),
        "host_p95_ms": _p95_of(cell.boundary("host_ms")),
        "throughput_fps": _mean_of(cell.boundary("throughput_fps")),
        "tflops_per_s": tflops_per_s,
        **hardware.columns(cell, fps, tflops_per_s, transfer_ms),
    }


def _mean_of(rounds: list[stats.Array]) -> float:
    return float(np.mean([stats.trimmed_mean(samples) for samples in rounds])) if rounds else float("nan")


def _p95_of(rounds: list[stats.Array]) -> float:
    return float(np.percentile(np.concatenate(rounds), 95)) if rounds else float("nan")


def _ratio(cell: Cell, cells: Mapping[Key, Cell]) -> dict[str, Any]:
    """Speedup over the baseline; nothing when either is missing, or timed by another clock."""
    base = cells.get(cell.key.of(*BASELINE))
    if not cell.ranked or base is None or not base.ranked or base.rows[0].clock != cell.rows[0].clock:
        return {"verdict": ""}
    if base is cell:
        return {"speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0, "verdict": "baseline"}
    low, high = ratio_interval(base, cell)
    ratio = base.mean_ms / cell.mean_ms
    return {"speedup": ratio, "speedup_low": low, "speedup_high": high, "verdict": stats.verdict((low, high))}


def _facts(cell: Cell, val_accuracy: Mapping[int, float | None]) -> dict[str, Any]:
    wanted = RANKED if cell.ranked else (cell.status,)  # of several rounds one may have failed
    row = next((r for r in reversed(cell.rows) if r.status in wanted), cell.rows[-1])
    parity = row.parity
    return {
        "accuracy": parity.accuracy if parity else None,
        "parity_images": parity.images if parity else None,
        "top1_agreement": parity.top1_agreement if parity else None,
        "rel_l2": parity.rel_l2 if parity else None,
        "val_accuracy": val_accuracy.get(cell.key.image_size),
        "build_ms": row.build_ms,
        "load_ms": row.load_ms,
        "gpu_memory_mb": _largest(r.gpu_memory_mb for r in cell.rows),
        "cpu_memory_mb": _largest(r.cpu_memory_mb for r in cell.rows),
        "artifact_mb": row.artifact_bytes / 1e6 if row.artifact_bytes else None,
        "clock": row.clock,
        "device": row.device,
        "options": json.dumps(row.options, sort_keys=True, ensure_ascii=False),
        "executed": json.dumps(row.executed, sort_keys=True, ensure_ascii=False),
        **_telemetry(cell),
        **_process_memory(cell),
    }


def _largest(values: Any) -> float | None:
    return max((v for v in values if v is not None), default=None)


def _process_memory(cell: Cell) -> dict[str, float | str]:
    """The largest peak over rounds of the worker's process, which holds at least what its library's allocator had.

    The driver is read every 0.1 s, and until 2026-11-28 only while samples were taken, not while algorithms were
    searched: where it saw less than the allocator, the allocator's figure counts and is named as the source.
    """
    rows = [row for row in cell.rows if isinstance(row.telemetry.get(PROCESS_MEMORY), (int, float))]
    process = _largest(row.telemetry[PROCESS_MEMORY] for row in rows)
    allocator = _largest(row.gpu_memory_mb for row in rows)
    if process is not None and allocator is not None and allocator > process:
        return {PROCESS_MEMORY: allocator, "gpu_memory_source": "allocator"}
    return {} if process is None else {PROCESS_MEMORY: float(process)}


def _telemetry(cell: Cell) -> dict[str, float | str]:
    """Mean over rounds of each numeric telemetry value, under `telemetry_<name>` where a column has that name.

    NVML's rates are left out where they were read over less than NVML looks back: they are of what came before.
    Anything else that is not empty (throttle reasons, other processes) is kept as text, of the last round that has it.
    """
    found: dict[str, list[float]] = {}
    texts: dict[str, str] = {}
    for row in cell.rows:
        for name, value in row.telemetry.items():
            if name in RATES and row.telemetry.get("load_window_s", LOOK_BACK_S) < LOOK_BACK_S:
                continue
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found.setdefault(_column(name), []).append(float(value))
            elif value not in (None, "", [], {}):
                texts[_column(name)] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {**texts, **{name: float(np.mean(values)) for name, values in found.items()}}


def _column(name: str) -> str:
    return f"telemetry_{name}" if name in COLUMNS else name
