"""Floating-point operations and parameters of a network."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from export.files import CheckFailedError
from export.layers import Layer, list_layers

PRODUCTS = ("conv", "linear", "matmul", "bmm", "einsum", "attention")  # fvcore's names; `attention` is ours


@dataclass(frozen=True)
class Cost:
    """`flops_per_image` = 2 x multiply-accumulates of convolutions and matrix products; `parameters` trainable.

    `layers` are those of the fully fused network; their FLOP add up to `flops_per_image`.
    """

    flops_per_image: int
    parameters: int
    layers: list[Layer]


def count_cost(network: torch.nn.Module, image_size: int) -> Cost:
    """Cost of one (3, image_size, image_size) image.

    Convolutions and matrix products only: fvcore would add batch norm and pooling (0.3% of ResNet-18 at 224 px), which
    export folds away or which are no multiply-accumulates; so both counters, and the layers, must agree exactly. He et
    al. (arXiv:1512.03385, table 1) give 1.8e9 multiply-accumulates for ResNet-18 at 224 px. Raises CheckFailedError
    when they do not.
    """
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - only needed here

    image = torch.zeros(1, 3, image_size, image_size)
    with warnings.catch_warnings(), torch.no_grad(), attention_spelled_out():
        warnings.simplefilter("ignore")  # fvcore goes through torch.jit, deprecated in torch 2.14
        from fvcore.nn import FlopCountAnalysis, parameter_count  # noqa: PLC0415 - warns when imported

        analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle("aten::scaled_dot_product_attention", count_attention)
        by_operator = analysis.by_operator()
        with FlopCounterMode(display=False) as counter:
            network(image)
        layers = list_layers(network, image_size)
    flops = 2 * int(sum(by_operator[name] for name in PRODUCTS))
    if flops != counter.get_total_flops():
        raise CheckFailedError(f"fvcore counts {flops} FLOP, torch {counter.get_total_flops()} at {image_size} px")
    if flops != (listed := sum(layer.flops for layer in layers)):
        raise CheckFailedError(f"fvcore counts {flops} FLOP, the layers have {listed} at {image_size} px")
    return Cost(flops, int(parameter_count(network)[""]), layers)


def count_attention(inputs: list[Any], outputs: list[Any]) -> Any:
    """Multiply-accumulates of attention for fvcore: queries (..., N, D) by keys, and the shares by values."""
    from fvcore.nn.jit_handles import get_shape  # noqa: PLC0415 - warns when imported

    query, key, value = (get_shape(each) for each in inputs[:3])
    return Counter(attention=math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


@contextlib.contextmanager
def attention_spelled_out() -> Iterator[None]:
    """Attention computed as matrix products: both counters see through them, and through no fused kernel."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415 - only needed here

    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
