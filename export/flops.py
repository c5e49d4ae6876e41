"""Floating-point operations and parameters of a network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from export.files import CheckFailedError
from export.layers import Layer, list_layers


@dataclass(frozen=True)
class Cost:
    """`flops_per_image` = 2 x multiply-accumulates of convolutions and linear layers; `parameters` trainable.

    `layers` are those of the fully fused network; their FLOP add up to `flops_per_image`.
    """

    flops_per_image: int
    parameters: int
    layers: list[Layer]


def count_cost(network: torch.nn.Module, image_size: int) -> Cost:
    """Cost of one (3, image_size, image_size) image.

    Convolution and linear layers only: fvcore would add batch norm and pooling (0.3% at 224 px), which export folds
    away or which are no multiply-accumulates; so both counters, and the layers, must agree exactly. He et al.
    (arXiv:1512.03385, table 1) give 1.8e9 multiply-accumulates for ResNet-18 at 224 px. Raises CheckFailedError when
    they do not.
    """
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - only needed here

    image = torch.zeros(1, 3, image_size, image_size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # fvcore goes through torch.jit, deprecated in torch 2.14
        from fvcore.nn import FlopCountAnalysis, parameter_count  # noqa: PLC0415 - warns when imported

        analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_operator = analysis.by_operator()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    flops = 2 * int(by_operator["conv"] + by_operator["linear"])
    if flops != counter.get_total_flops():
        raise CheckFailedError(f"fvcore counts {flops} FLOP, torch {counter.get_total_flops()} at {image_size} px")
    layers = list_layers(network, image_size)
    if flops != (listed := sum(layer.flops for layer in layers)):
        raise CheckFailedError(f"fvcore counts {flops} FLOP, the layers have {listed} at {image_size} px")
    return Cost(flops, int(parameter_count(network)[""]), layers)
