"""FLOP and parameters, against published numbers."""

from __future__ import annotations

import pytest
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from export.files import CheckFailedError
from export.flops import count_cost


@pytest.mark.parametrize(("image_size", "gflops"), [(224, 3.628), (256, 4.739), (384, 10.66), (512, 18.95)])
def test_resnet18_for_1000_classes_has_its_published_cost(image_size: int, gflops: float) -> None:
    """1.814e9 multiply-accumulates at 224 px and 11,689,512 parameters: torchvision's model card (1.81 GFLOPS)."""
    network = torchvision.models.resnet18().eval()
    cost = count_cost(network, image_size)
    assert cost.flops_per_image / 1e9 == pytest.approx(gflops, rel=5e-4)
    assert cost.parameters == torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["num_params"]
    if image_size == 224:
        card = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["_ops"]  # in 1e9 multiply-accumulates
        assert cost.flops_per_image / 2e9 == pytest.approx(card, abs=5e-4)


def test_the_two_counters_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlopCounterMode, "get_total_flops", lambda self: 1)
    with pytest.raises(CheckFailedError, match="torch 1 at 64 px"):
        count_cost(torchvision.models.resnet18(num_classes=10).eval(), 64)
