"""FLOP and parameters, against published numbers."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from export.files import CheckFailedError
from export.flops import count_cost
from export.layers import list_layers


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


@pytest.mark.parametrize(("image_size", "megabytes"), [(224, 12.4), (256, 16.2), (384, 36.4), (512, 64.6)])
def test_fused_resnet18_moves_the_bytes_counted_by_hand(image_size: int, megabytes: float) -> None:
    """fp16, each layer reading its inputs and writing its output once, weights left out."""
    layers = list_layers(torchvision.models.resnet18(), image_size)
    elements = sum(x.input_elements + x.extra_input_elements + x.output_elements for x in layers)
    assert 2 * elements / 1e6 == pytest.approx(megabytes, abs=0.05)


@pytest.mark.parametrize(
    "arch",
    [
        "resnet50",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "shufflenet_v2_x1_0",
        "densenet121",
        "swin_t",
        "convnext_tiny",
    ],
)
def test_other_networks_have_the_cost_that_torchvision_publishes(arch: str) -> None:
    """Three counts agree, or count_cost raises; the fourth is torchvision's model card, at 224 px for 1000 classes."""
    card = torchvision.models.get_model_weights(arch)["IMAGENET1K_V1"].meta
    cost = count_cost(torchvision.models.get_model(arch).eval(), 224)
    assert round(cost.flops_per_image / 2e9, 3) == card["_ops"]  # in 1e9 multiply-accumulates
    assert cost.parameters == card["num_params"]


def test_attention_is_counted_by_hand() -> None:
    """ViT-B/32 at 64 px: 5 tokens of 768 numbers; 12 blocks of projections, attention and a perceptron."""
    network = torchvision.models.get_model("vit_b_32", image_size=64, num_classes=10).eval()
    tokens, width, hidden = 5, 768, 3072
    block = tokens * 4 * width**2 + 2 * tokens**2 * width + 2 * tokens * width * hidden
    patches = 4 * width * 3 * 32**2
    cost = count_cost(network, 64)
    assert cost.flops_per_image == 2 * (patches + 12 * block + 10 * width)
    attention = [layer for layer in cost.layers if layer.kind == "attention"]
    assert [layer.flops for layer in attention] == [2 * (tokens * 4 * width**2 + 2 * tokens**2 * width)] * 12


def test_what_several_layers_read_is_fused_into_none_of_them() -> None:
    """Squeeze-and-excitation: the scales are spread over a larger output, which two layers read before."""
    from torchvision.ops import SqueezeExcitation

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), SqueezeExcitation(8, 2))
    layers = list_layers(network, 10)
    assert [(layer.kind, layer.input_elements, layer.output_elements) for layer in layers] == [
        ("conv", 300, 512), ("pool", 512, 8), ("conv", 8, 2), ("conv", 2, 8), ("other", 8 + 512, 512),
    ]  # fmt: skip


def test_resnet18_has_its_23_layers_and_8_residuals() -> None:
    layers = list_layers(torchvision.models.resnet18(), 64)
    kinds = [layer.kind for layer in layers]
    assert [kinds.count(kind) for kind in ("conv", "pool", "linear")] == [20, 2, 1]
    assert len(kinds) == 23
    assert sum(layer.extra_input_elements > 0 for layer in layers) == 8


def test_weights_are_those_of_the_network_with_batch_norm_folded() -> None:
    network = torchvision.models.resnet18()
    folded = sum(p.numel() for name, p in network.named_parameters() if "bn" not in name and "downsample.1" not in name)
    biases = sum(module.num_features for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert sum(layer.weight_elements for layer in list_layers(network, 64)) == folded + biases


def test_any_traceable_network_is_listed() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Softmax(dim=1))
    layers = list_layers(network, 8)
    assert [(layer.kind, layer.flops, layer.output_elements) for layer in layers] == [
        ("conv", 2 * 4 * 36 * 27, 144),
        ("other", 0, 144),
    ]
