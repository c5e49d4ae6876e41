from __future__ import annotations

import pytest

from analysis.peaks import PEAKS, find_peak


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB SXM"),
        ("NVIDIA A100-PCIE-40GB", "A100 40 GB"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100 SXM"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4080 SUPER", "RTX 4080 SUPER"),
        ("NVIDIA GeForce RTX 5070 Ti", "RTX 5070 Ti"),
    ],
)
def test_a_card_is_known_by_its_name_in_nvml(device: str, name: str) -> None:
    peak = find_peak(device)
    assert peak is not None
    assert peak.name == name


@pytest.mark.parametrize(
    "device",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA H200 MIG 1g.18gb",
        "NVIDIA L40",
        "NVIDIA A10G",
        "NVIDIA GeForce RTX 3080",
        "Intel(R) Xeon(R) Platinum 8480C",
        "",
    ],
)
def test_a_name_that_only_resembles_a_card_has_no_peak(device: str) -> None:
    assert find_peak(device) is None


@pytest.mark.parametrize(
    ("device", "precision", "with_sparsity"),
    [
        ("NVIDIA H200", "fp16", 1979),
        ("NVIDIA H200", "tf32", 989),
        ("NVIDIA H200", "int8", 3958),
        ("NVIDIA H100 PCIe", "tf32", 756),
        ("NVIDIA H100 PCIe", "int8", 3026),
        ("NVIDIA A100-SXM4-80GB", "fp16", 624),
        ("NVIDIA A100-SXM4-80GB", "tf32", 312),
        ("NVIDIA A10", "fp16", 250),
        ("NVIDIA L4", "fp16", 242),
        ("NVIDIA L4", "int8", 485),
        ("NVIDIA L40S", "tf32", 366),
        ("NVIDIA L40S", "int8", 1466),
        ("NVIDIA B200", "fp16", 4500),
        ("NVIDIA B200", "tf32", 2200),
    ],
)
def test_peaks_are_dense_half_of_what_datasheets_print_with_sparsity(
    device: str, precision: str, with_sparsity: float
) -> None:
    peak = find_peak(device)
    assert peak is not None
    assert peak.tflops[precision] == pytest.approx(with_sparsity / 2, rel=2e-3)


@pytest.mark.parametrize("peak", [peak for peak in PEAKS.values() if peak.name.startswith("RTX")])
def test_geforce_tensor_cores_keep_the_ratios_of_their_whitepapers(peak: object) -> None:
    """fp16 with fp32 accumulation is twice fp32, tf32 equals it, int8 is eight times it."""
    tflops = peak.tflops  # type: ignore[attr-defined]
    ratios = [tflops[name] / tflops["fp32"] for name in ("tf32", "fp16", "bf16", "int8")]
    assert ratios == pytest.approx([1, 2, 2, 8], rel=5e-3)


def test_cards_before_ampere_have_no_tf32_and_no_bf16() -> None:
    for device in ("Tesla T4", "Tesla V100-PCIE-32GB"):
        peak = find_peak(device)
        assert peak is not None
        assert not {"tf32", "bf16"} & set(peak.tflops)
