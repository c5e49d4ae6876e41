"""torchvision's ResNets with BatchNorm folded and cuDNN's fused convolution + bias (+ residual) + ReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet


class FusedConv(torch.nn.Module):
    """Convolution and BatchNorm as one convolution with bias, then ReLU, in one cuDNN call."""

    def __init__(self, conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d) -> None:
        super().__init__()
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        self.weight, self.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        self.shape: tuple[Any, ...] = (conv.stride, conv.padding, conv.dilation, conv.groups)

    def forward(self, images: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """relu(conv(images) + bias (+ added))."""
        if added is None:
            return torch.cudnn_convolution_relu(images, self.weight, self.bias, *self.shape)
        return torch.cudnn_convolution_add_relu(images, self.weight, added, 1.0, self.bias, *self.shape)


class Projection(FusedConv):
    """A block's 1x1 convolution on the shortcut, which has no ReLU."""

    def forward(self, images: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """conv(images) + bias."""
        return torch.nn.functional.conv2d(images, self.weight, self.bias, *self.shape)


class FusedBlock(torch.nn.Module):
    """A residual block: every convolution fused, the last one with the shortcut."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        names = ("1", "2", "3") if isinstance(block, Bottleneck) else ("1", "2")
        convs = [FusedConv(getattr(block, f"conv{name}"), getattr(block, f"bn{name}")) for name in names]
        self.first, self.last = torch.nn.Sequential(*convs[:-1]), convs[-1]
        self.shortcut = Projection(*block.downsample) if block.downsample is not None else torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """relu(last(first(images)) + shortcut(images))."""
        return self.last(self.first(images), self.shortcut(images))


def fuse(network: ResNet) -> torch.nn.Module:
    """The same network in eval mode, of fused calls. Call on fp32 weights, before they are cast."""
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    return torch.nn.Sequential(
        FusedConv(network.conv1, network.bn1),
        network.maxpool,
        *(FusedBlock(block) for stage in stages for block in stage),
        network.avgpool,
        torch.nn.Flatten(),
        network.fc,
    ).eval()
