"""How fast the network's own layers could run on a machine, and which of its two limits they meet first.

Williams, Waterman, Patterson (2009), "Roofline", doi.org/10.1145/1498765.1498785, applied per layer: a layer takes at
least its arithmetic at the machine's peak, and at least its memory traffic at the machine's bandwidth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
WINOGRAD = 2.25  # multiplications that F(2x2, 3x3) saves, Lavin and Gray (2015), arxiv.org/abs/1509.09308


@dataclass(frozen=True)
class Bound:
    """Images per second that no fully fused network can exceed, for one batch and precision.

    `fps` counts every layer's memory traffic; `compute_fps` the arithmetic alone, which also holds where a small batch
    stays in the cache. `memory_share` of the bound's time is spent in layers that wait for memory, 0..1.
    `flops_per_byte` is the arithmetic intensity of the network, `memory_roof_tflops` what bandwidth makes of it.
    """

    fps: float
    compute_fps: float
    memory_share: float
    flops_per_byte: float
    memory_roof_tflops: float

    @property
    def limiter(self) -> str:
        """What the bound's time goes to."""
        return "bandwidth-bound" if self.memory_share > 0.5 else "compute-bound"


def find_bound(
    layers: Sequence[Mapping[str, Any]], batch_size: int, precision: str, tflops: float, gb_per_s: float
) -> Bound:
    """Bound from `layers` as in models.json. Every layer reads its inputs and weights and writes its output once."""
    width = ELEMENT_BYTES[precision]
    total_s = compute_s = waiting_s = 0.0
    flops = moved = 0.0
    for layer in layers:
        arithmetic = layer["flops"] * batch_size
        each = layer["input_elements"] + layer["extra_input_elements"] + layer["output_elements"]
        traffic = width * (each * batch_size + layer["weight_elements"])
        in_compute, in_memory = arithmetic / (tflops * 1e12), traffic / (gb_per_s * 1e9)
        total_s += max(in_compute, in_memory)
        compute_s += in_compute
        waiting_s += in_memory if in_memory > in_compute else 0.0
        flops, moved = flops + arithmetic, moved + traffic
    intensity = flops / moved
    roof = intensity * gb_per_s / 1e3
    return Bound(batch_size / total_s, batch_size / compute_s, waiting_s / total_s, intensity, roof)


def breaks_bound(fps: float, bound: Bound, precision: str) -> bool:
    """Whether a cell is faster than its arithmetic allows: then the measurement is wrong, not the machine good.

    fp32 gets the allowance of Winograd's convolutions, which do the same with fewer multiplications.
    """
    return fps > bound.compute_fps * (WINOGRAD if precision == "fp32" else 1.0)
