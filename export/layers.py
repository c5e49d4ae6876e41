"""What each layer of a network computes and moves, once everything that can be fused is fused."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import stochastic_depth

VIEWS = (nn.Identity, nn.Dropout, nn.Flatten)  # at inference they move nothing
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Sigmoid)
VIEW_CALLS = (
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.chunk, operator.getitem, stochastic_depth),
    *("flatten", "view", "reshape", "permute", "transpose", "contiguous", "chunk", "expand", "squeeze", "unsqueeze"),
    *(functional.dropout, torch.cat),  # its parts are written where they belong
)
ADD_CALLS = (operator.add, operator.iadd, torch.add, "add", "add_")
MULTIPLY_CALLS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
ACTIVATION_CALLS = (
    *(torch.relu, functional.relu, functional.relu6, functional.hardswish, functional.silu, functional.gelu),
    *("relu", "relu_"),
)


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

    Batch norm, activation, addition and scaling belong to the layer before them when nobody else reads its output;
    pooling, layer norm and anything unknown is a layer of its own, attention one layer with its projections. Works for
    networks that torch.fx can trace, which all of torchvision's classifiers are.
    """
    traced = fx.symbolic_trace(network.eval())
    with torch.no_grad():
        _ShapesAndFlops(traced).propagate(torch.zeros(1, 3, image_size, image_size))
    return _Fusion(traced).layers


class _ShapesAndFlops(ShapeProp):
    """Runs the network once and notes each node's shape and what torch counts in it."""

    def run_node(self, n: fx.Node) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = super().run_node(n)
        n.meta["flops"] = counter.get_total_flops()
        return result


class _Fusion:
    def __init__(self, traced: fx.GraphModule) -> None:
        self.layers: list[Layer] = []
        self._modules = dict(traced.named_modules())
        self._owner: dict[fx.Node, int] = {}  # node -> position of the layer that writes its value
        for node in traced.graph.nodes:
            if node.op in ("call_module", "call_function", "call_method") and _elements(node):
                self._place(node)

    def _place(self, node: fx.Node) -> None:
        target: Any = self._modules[str(node.target)] if node.op == "call_module" else node.target
        sources = [source for source in node.all_input_nodes if _elements(source)]
        if isinstance(target, VIEWS) or target in VIEW_CALLS:
            owners = [self._owner[source] for source in sources if source in self._owner and _readers(source) == 1]
            if owners and len(owners) == len(sources):
                self._owner[node] = max(owners)
        elif isinstance(target, nn.Conv2d | nn.Linear) or not self._fuse(node, target, sources):
            self.layers.append(_make_layer(node, target, sources))
            self._owner[node] = len(self.layers) - 1

    def _fuse(self, node: fx.Node, target: Any, sources: list[fx.Node]) -> bool:
        """Give an element-wise node to the latest layer before it that only this node reads.

        A layer whose output is spread over a larger one, as the scales of squeeze-and-excitation are, does not take it.
        """
        elementwise = (*ADD_CALLS, *MULTIPLY_CALLS, *ACTIVATION_CALLS)
        if not (isinstance(target, (nn.BatchNorm2d, *ACTIVATIONS)) or target in elementwise):
            return False
        candidates = [
            source
            for source in sources
            if source in self._owner and _readers(source) == 1 and _elements(source) == _elements(node)
        ]
        if not candidates:
            return False
        source = max(candidates, key=lambda candidate: self._owner[candidate])
        layer = self.layers[self._owner[source]]
        for other in (each for each in sources if each is not source):
            if other.op == "get_attr":
                layer.weight_elements += _elements(other)
            else:
                layer.extra_input_elements += _elements(other)
        if isinstance(target, nn.BatchNorm2d) and getattr(self._before(source), "bias", True) is None:
            layer.weight_elements += target.num_features
        self._owner[node] = self._owner[source]
        return True

    def _before(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None


def _make_layer(node: fx.Node, target: Any, sources: list[fx.Node]) -> Layer:
    weights = sum(p.numel() for p in target.parameters()) if isinstance(target, nn.Module) else 0
    weights += sum(_elements(source) for source in sources if source.op == "get_attr")
    output = _elements(node)
    inputs = sum(_elements(source) for source in sources if source.op != "get_attr")
    kind, flops = "other", int(node.meta["flops"])
    if isinstance(target, nn.Conv2d):
        kind, flops = "conv", 2 * output * target.weight[0].numel()
        for kernel, stride in zip(target.kernel_size, target.stride, strict=True):
            inputs = inputs * min(kernel, stride) // stride
    elif isinstance(target, nn.Linear):
        kind, flops = "linear", 2 * output * target.in_features
    elif isinstance(target, POOLS):
        kind = "pool"
    elif flops:
        kind = "attention"
    name = str(node.target) if isinstance(target, nn.Module) else node.name
    return Layer(name, kind, flops, inputs, output, weights)


def _readers(node: fx.Node) -> int:
    return sum(1 for user in node.users if _elements(user))


def _elements(node: fx.Node) -> int:
    """Numbers in a node's value: of one tensor or of several; 0 for what is no tensor."""
    meta = node.meta.get("tensor_meta")
    if isinstance(meta, fx.passes.shape_prop.TensorMetadata):
        return math.prod(meta.shape)
    if isinstance(meta, tuple | list):
        return sum(math.prod(each.shape) for each in meta if hasattr(each, "shape"))
    return 0
