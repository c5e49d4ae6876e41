"""The fused network against the one it is made from, with cuDNN's two calls written out in plain PyTorch."""

import pytest
import torch
import torchvision

from harness.backends.cudnn_fused import fuse


def conv_relu(images, weight, bias, *shape):
    """What cudnn_convolution_relu computes; `shape`: stride, padding, dilation, groups."""
    return torch.nn.functional.conv2d(images, weight, bias, *shape).relu()


def conv_add_relu(images, weight, added, alpha, bias, *shape):
    """What cudnn_convolution_add_relu computes."""
    return (torch.nn.functional.conv2d(images, weight, bias, *shape) + alpha * added).relu()


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50", "resnext50_32x4d"])
def test_the_fused_network_answers_the_same(monkeypatch, arch):
    """BatchNorm folded (statistics and scales of its own in every layer), shortcuts added, strides kept."""
    monkeypatch.setattr(torch, "cudnn_convolution_relu", conv_relu, raising=False)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", conv_add_relu, raising=False)
    torch.manual_seed(0)
    network = torchvision.models.get_model(arch, num_classes=10).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)
        fused = fuse(network)
        torch.testing.assert_close(fused(images), expected, rtol=1e-4, atol=1e-4)
    assert not [module for module in fused.modules() if isinstance(module, torch.nn.BatchNorm2d)]
