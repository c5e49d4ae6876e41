"""What one cell makes of the machine: shares of the peaks, the roofline bound, the limiter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.cells import Cell
from analysis.limit_files import find_ceilings, find_layers
from analysis.load import Run
from analysis.peaks import Peak, find_peak
from analysis.roofline import Bound, breaks_bound, find_bound

LAUNCH_SHARE = 0.9  # host time of enqueueing over device time from which the host sets the pace
TRANSFER_RATIO = 1.5  # time with copies over time without, from which copies dominate


@dataclass(frozen=True)
class Hardware:
    """Limits of the machine. `measured` TFLOP/s by precision and `copy_gb_per_s` from ceilings.json; `peak` published.

    What was measured is the best of matrix products and, on a CPU, convolutions (older files lack them).
    `layers` by image size, from models.json. Whatever a run lacks is empty or None, and so is what follows from it.
    """

    peak: Peak | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    copy_gb_per_s: float | None = None
    layers: Mapping[int, list[dict[str, Any]]] = field(default_factory=dict)

    def bound(self, image_size: int, batch_size: int, precision: str) -> Bound | None:
        """Roofline bound from measured ceilings, else from published peaks."""
        layers = self.layers.get(image_size)
        tflops, gb_per_s = self.measured.get(precision), self.copy_gb_per_s
        if (tflops is None or gb_per_s is None) and self.peak is not None:
            tflops, gb_per_s = self.peak.tflops.get(precision), self.peak.gb_per_s
        if not layers or not tflops or not gb_per_s:
            return None
        return find_bound(layers, batch_size, precision, tflops, gb_per_s)

    def columns(self, cell: Cell, fps: float, tflops_per_s: float, transfer_ms: float) -> dict[str, Any]:
        """The summary's columns about the machine, for a ranked cell."""
        precision = cell.key.precision
        peak = self.peak.tflops.get(precision) if self.peak else None
        ceiling = self.measured.get(precision)
        bound = self.bound(cell.key.image_size, cell.key.batch_size, precision)
        return {
            "mfu_peak_percent": 100 * tflops_per_s / peak if peak else None,
            "mfu_ceiling_percent": 100 * tflops_per_s / ceiling if ceiling else None,
            "bound_fps": bound.fps if bound else None,
            "compute_bound_fps": bound.compute_fps if bound else None,
            "roofline_percent": 100 * fps / bound.fps if bound else None,
            "flops_per_byte": bound.flops_per_byte if bound else None,
            "memory_roof_tflops_per_s": bound.memory_roof_tflops if bound else None,
            "above_bound": breaks_bound(fps, bound, precision) if bound else None,
            "limiter": _limiter(cell, bound),
            "transfer_bound": transfer_ms > TRANSFER_RATIO * cell.mean_ms if math.isfinite(transfer_ms) else None,
        }


def find_hardware(run: Run) -> Hardware:
    """The limits that a run's folder and the name of its device tell. Raises InputError for files that are broken."""
    measured, copy_gb_per_s = find_ceilings(run)
    return Hardware(find_peak(str(run.machine.get("device") or "")), measured, copy_gb_per_s, find_layers(run))


def _limiter(cell: Cell, bound: Bound | None) -> str:
    """`launch-bound`, `bandwidth-bound` or `compute-bound`; empty when neither host time nor layers are known.

    Inside a CUDA graph the host launches once, so launch-bound says nothing there.
    """
    graph = any(row.executed.get("graph") for row in cell.rows)
    enqueue = [row.telemetry["enqueue_ms"] for row in cell.rows if row.telemetry.get("enqueue_ms") is not None]
    if enqueue and not graph and sum(enqueue) / len(enqueue) >= LAUNCH_SHARE * cell.mean_ms:
        return "launch-bound"
    return bound.limiter if bound else ""
