"""What NVIDIA publishes of its cards: dense peak arithmetic per precision and memory bandwidth.

Dense, never "with sparsity" (twice as much); tensor cores with fp32 accumulation, which is what cuDNN and TensorRT use
for fp16 (GeForce cards are twice as fast with fp16 accumulation). fp32 is IEEE, without tensor cores.

A card is here only when its name in NVML tells it apart: the RTX 3080 and the RTX 3060 came with two memory widths each
under one name, and are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")

VOLTA = "NVIDIA V100 datasheet, images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"  # noqa: E501 - an address
TURING = "NVIDIA T4 datasheet, www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/tesla-t4/t4-tensor-core-datasheet-951643.pdf"  # noqa: E501 - an address
A100 = "NVIDIA A100 datasheet, www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"  # noqa: E501 - an address
A10 = "NVIDIA A10 datasheet, www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a10/pdf/a10-datasheet.pdf"
AMPERE = (
    "NVIDIA Ampere GA102 whitepaper, www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf"
)
ADA = "NVIDIA Ada whitepaper, images.nvidia.com/aem-dam/Solutions/Data-Center/l4/nvidia-ada-gpu-architecture-whitepaper-v2.1.pdf"  # noqa: E501 - an address
L40S = "NVIDIA L40S datasheet, resources.nvidia.com/en-us-l40s/l40s-datasheet-28413"
HOPPER = "NVIDIA H100 whitepaper and datasheet, resources.nvidia.com/en-us-tensor-core"
H200 = "NVIDIA H200 datasheet, nvdam.widen.net/s/nb5zzzsjdf/hpc-datasheet-sc23-h200-datasheet-3002446"
BLACKWELL = "NVIDIA HGX B200 specifications (per GPU), www.nvidia.com/en-us/data-center/hgx"
RTX_50 = "NVIDIA RTX Blackwell whitepaper, images.nvidia.com/aem-dam/Solutions/geforce/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf"  # noqa: E501 - an address


@dataclass(frozen=True)
class Peak:
    """Published peaks of a card. `tflops` by precision (int8: TOP/s); a precision that the card lacks is absent."""

    name: str
    tflops: dict[str, float]
    gb_per_s: float
    source: str


def _peak(name: str, tflops: tuple[float | None, ...], gb_per_s: float, source: str) -> Peak:
    known = {p: value for p, value in zip(PRECISIONS, tflops, strict=True) if value is not None}
    return Peak(name, known, gb_per_s, source)


# The whole name that NVML gives -> fp32, tf32, fp16, bf16, int8 and GB/s.
PEAKS = {
    r"Tesla V100-SXM[23]-\d+GB(-LS)?": _peak("V100 SXM", (15.7, None, 125, None, None), 900, VOLTA),
    r"Tesla V100-PCIE-\d+GB": _peak("V100 PCIe", (14, None, 112, None, None), 900, VOLTA),
    r"(Tesla|NVIDIA) T4": _peak("T4", (8.1, None, 65, None, 130), 320, TURING),
    r"NVIDIA A100-(SXM4|PCIE)-40GB": _peak("A100 40 GB", (19.5, 156, 312, 312, 624), 1555, A100),
    r"NVIDIA A100 80GB PCIe": _peak("A100 80 GB PCIe", (19.5, 156, 312, 312, 624), 1935, A100),
    r"NVIDIA A100-SXM4-80GB": _peak("A100 80 GB SXM", (19.5, 156, 312, 312, 624), 2039, A100),
    r"NVIDIA A10": _peak("A10", (31.2, 62.5, 125, 125, 250), 600, A10),
    r"NVIDIA L4": _peak("L4", (30.3, 60, 121, 121, 242.5), 300, ADA),
    r"NVIDIA L40S": _peak("L40S", (91.6, 183, 362, 362, 733), 864, L40S),
    r"NVIDIA GeForce RTX 3070": _peak("RTX 3070", (20.3, 20.3, 40.6, 40.6, 162.6), 448, AMPERE),
    r"NVIDIA GeForce RTX 3080 Ti": _peak("RTX 3080 Ti", (34.1, 34.1, 68.2, 68.2, 272.8), 912, AMPERE),
    r"NVIDIA GeForce RTX 3090": _peak("RTX 3090", (35.6, 35.6, 71, 71, 284), 936, AMPERE),
    r"NVIDIA GeForce RTX 3090 Ti": _peak("RTX 3090 Ti", (40, 40, 80, 80, 320), 1008, AMPERE),
    r"NVIDIA GeForce RTX 4080": _peak("RTX 4080", (48.7, 48.7, 97.5, 97.5, 389.9), 717, ADA),
    r"NVIDIA GeForce RTX 4080 SUPER": _peak("RTX 4080 SUPER", (52.2, 52.2, 104.4, 104.4, 417.6), 736, ADA),
    r"NVIDIA GeForce RTX 4090": _peak("RTX 4090", (82.6, 82.6, 165.2, 165.2, 660.6), 1008, ADA),
    r"NVIDIA GeForce RTX 5070": _peak("RTX 5070", (30.9, 30.9, 61.7, 61.7, 246.9), 672, RTX_50),
    r"NVIDIA GeForce RTX 5070 Ti": _peak("RTX 5070 Ti", (43.9, 43.9, 87.9, 87.9, 351.5), 896, RTX_50),
    r"NVIDIA GeForce RTX 5080": _peak("RTX 5080", (56.3, 56.3, 112.6, 112.6, 450.2), 960, RTX_50),
    r"NVIDIA GeForce RTX 5090": _peak("RTX 5090", (104.8, 104.8, 209.5, 209.5, 838), 1792, RTX_50),
    r"NVIDIA H100 80GB HBM3": _peak("H100 SXM", (66.9, 494.7, 989.4, 989.4, 1978.9), 3350, HOPPER),
    r"NVIDIA H100 PCIe": _peak("H100 PCIe", (51.2, 378, 756, 756, 1513), 2000, HOPPER),
    r"NVIDIA H200": _peak("H200 SXM", (66.9, 494.7, 989.4, 989.4, 1978.9), 4800, H200),
    r"NVIDIA H200 NVL": _peak("H200 NVL", (60, 417.5, 835.5, 835.5, 1670.5), 4800, H200),
    r"NVIDIA B200": _peak("B200", (75, 1100, 2250, 2250, 4500), 7700, BLACKWELL),
}


def find_peak(device: str) -> Peak | None:
    """Peaks of the card that NVML calls `device`; None for a card, a laptop version or a MIG slice not listed."""
    return next((peak for name, peak in PEAKS.items() if re.fullmatch(name, device)), None)
