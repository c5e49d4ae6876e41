"""What each layer of a network computes and moves, once everything that can be fused is fused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

VIEWS = (nn.Identity, nn.Dropout, nn.Flatten)  # at inference they move nothing
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
VIEW_CALLS = (torch.flatten, "flatten", "view", "reshape")
ADD_CALLS = (operator.add, operator.iadd, torch.add, "add", "add_")
ACTIVATION_CALLS = (torch.relu, nn.functional.relu, "relu", "relu_")


@dataclass
class Layer:
    """One layer for one image: `flops` = 2 x multiply-accumulates; the rest counts elements, not bytes.

    `extra_input_elements` is a residual that a fused addition reads; `weight_elements` holds biases too (those that
    batch norm folds into a convolution among them). Pixels that a stride steps over (a 1 x 1 convolution's) are not
    input.
    """

    name: str
    kind: str
    flops: int
    input_elements: int
    output_elements: int
    weight_elements: int
    extra_input_elements: int = 0


def list_layers(network: nn.Module, image_size: int) -> list[Layer]:
    """Layers of the fully fused network for one (3, image_size, image_size) image, in the order they run.

    Batch norm, activation and addition belong to the layer before them when nobody else reads its output; pooling and
    anything unknown is a layer of its own. Works for networks that torch.fx can trace.
    """
    traced = fx.symbolic_trace(network.eval())
    with torch.no_grad():
        ShapeProp(traced).propagate(torch.zeros(1, 3, image_size, image_size))
    return _Fusion(traced).layers


class _Fusion:
    def __init__(self, traced: fx.GraphModule) -> None:
        self.layers: list[Layer] = []
        self._modules = dict(traced.named_modules())
        self._owner: dict[fx.Node, int] = {}  # node -> position of the layer that writes its value
        for node in traced.graph.nodes:
            if node.op in ("call_module", "call_function", "call_method"):
                self._place(node)

    def _place(self, node: fx.Node) -> None:
        target: Any = self._modules[str(node.target)] if node.op == "call_module" else node.target
        sources = [source for source in node.all_input_nodes if _elements(source)]
        if isinstance(target, VIEWS) or target in VIEW_CALLS:
            if sources[0] in self._owner:
                self._owner[node] = self._owner[sources[0]]
        elif isinstance(target, nn.Conv2d | nn.Linear) or not self._fuse(node, target, sources):
            self.layers.append(_make_layer(node, target, sources))
            self._owner[node] = len(self.layers) - 1

    def _fuse(self, node: fx.Node, target: Any, sources: list[fx.Node]) -> bool:
        """Give an element-wise node to the latest layer before it that only this node reads."""
        if not (isinstance(target, nn.BatchNorm2d | nn.ReLU) or target in (*ADD_CALLS, *ACTIVATION_CALLS)):
            return False
        candidates = [source for source in sources if source in self._owner and len(source.users) == 1]
        if not candidates:
            return False
        source = max(candidates, key=lambda candidate: self._owner[candidate])
        layer = self.layers[self._owner[source]]
        if target in ADD_CALLS:
            layer.extra_input_elements += sum(_elements(other) for other in sources if other is not source)
        elif isinstance(target, nn.BatchNorm2d) and getattr(self._before(source), "bias", True) is None:
            layer.weight_elements += target.num_features
        self._owner[node] = self._owner[source]
        return True

    def _before(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None


def _make_layer(node: fx.Node, target: Any, sources: list[fx.Node]) -> Layer:
    weights = sum(p.numel() for p in target.parameters()) if isinstance(target, nn.Module) else 0
    output = _elements(node)
    inputs = sum(map(_elements, sources))
    kind, flops = "other", 0
    if isinstance(target, nn.Conv2d):
        kind, flops = "conv", 2 * output * target.weight[0].numel()
        for kernel, stride in zip(target.kernel_size, target.stride, strict=True):
            inputs = inputs * min(kernel, stride) // stride
    elif isinstance(target, nn.Linear):
        kind, flops = "linear", 2 * output * target.in_features
    elif isinstance(target, POOLS):
        kind = "pool"
    name = str(node.target) if isinstance(target, nn.Module) else node.name
    return Layer(name, kind, flops, inputs, output, weights)


def _elements(node: fx.Node) -> int:
    shape: Callable[[], int] | None = getattr(getattr(node.meta.get("tensor_meta"), "shape", None), "numel", None)
    return int(shape()) if shape else 0
