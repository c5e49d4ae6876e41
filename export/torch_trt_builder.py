"""Weights -> a module compiled by Torch-TensorRT, saved. Runs in the builder's process.

`compile_arguments` is where the releases differ: 2.2 takes precision by `enabled_precisions` (and needs a half module
as well) and answers in the format that is asked for; since 2.10 the dynamo front end takes precision from the module
alone, and `torch_tensorrt.save` writes the format. Releases from 2.3 to 2.9 are refused: their calls were not checked.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.fx.experimental.optimization import fuse

OLD, NEW = (2, 2), (2, 10)
DEVICE = "cuda"
SUMS = (operator.add, operator.iadd, torch.add)
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16}


def read_version(text: str) -> tuple[int, int]:
    """(major, minor) of `2.14.0+cu130`."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def compile_arguments(
    version: tuple[int, int], frontend: str, precision: str, optimization_level: int
) -> dict[str, Any]:
    """Keyword arguments of `torch_tensorrt.compile` beside `inputs`.

    Raises ValueError for a release that is not known.
    """
    if version != OLD and version < NEW:
        raise ValueError(f"Torch-TensorRT {version[0]}.{version[1]} is not known here; 2.2 and 2.10 or newer are")
    shared = {"disable_tf32": precision != "tf32"}
    old = {**shared, "enabled_precisions": {DTYPES[precision]}}
    if frontend == "torchscript":
        return {"ir": "ts", **old}
    if version == OLD:
        # the default format, an exported program, costs milliseconds of host time in every call; `debug` is what keeps
        # the layers' precisions in the engine, and has no part in how it runs
        return {
            "ir": "dynamo",
            **old,
            "output_format": "torchscript",
            "optimization_level": optimization_level,
            "debug": True,
        }
    return {"ir": "dynamo", **shared, "optimization_level": optimization_level}


def select_profiles(version: tuple[int, int], frontend: str, profiles: list[list[int]]) -> list[list[int]]:
    """The profiles that one file can hold: all of them as TorchScript, the first in an exported program."""
    return profiles if frontend == "torchscript" or version == OLD else profiles[:1]


def build(
    *,
    weights: str,
    arch: str,
    arch_arguments: dict[str, Any],
    num_classes: int,
    image_size: int,
    out: str,
    precision: str,
    frontend: str,
    profiles: list[list[int]],
    optimization_level: int,
) -> dict[str, Any]:
    """Compile for each of `profiles`, [smallest, best, largest], save into `out`; answers with manifest fields.

    Several are for what is saved as TorchScript alone.
    """
    torchvision = importlib.import_module("torchvision")
    torch_trt = importlib.import_module("torch_tensorrt")
    version = read_version(torch_trt.__version__)
    arguments = compile_arguments(version, frontend, precision, optimization_level)
    network = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **arch_arguments)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network = shortcuts_first(fuse(pool_by_mean(network.eval()))).to(DEVICE, DTYPES[precision])
    parts, seconds = [], 0.0
    for limits in profiles:
        source = make_input(torch_trt, limits, image_size, DTYPES[precision])
        start = time.perf_counter()
        with torch.no_grad(), detailed_layers(torch_trt, version):
            module: Any = network
            if arguments["ir"] == "ts":
                images = torch.zeros(limits[1], 3, image_size, image_size, dtype=DTYPES[precision], device=DEVICE)
                module = torch.jit.trace(network, images)
            parts.append(torch_trt.compile(module, inputs=[source], **arguments))
        seconds += time.perf_counter() - start
    module = parts[0] if len(parts) == 1 else choose_by_batch(parts, profiles)
    return {"build_s": round(seconds, 2), "form": save(torch_trt, module, source, Path(out))}


def make_input(torch_trt: Any, limits: Sequence[int], image_size: int, dtype: torch.dtype) -> Any:
    """Images of a range of batch sizes, [smallest, best, largest], or of one."""
    shapes = [(batch, 3, image_size, image_size) for batch in limits]
    named = dict(zip(("min_shape", "opt_shape", "max_shape"), shapes, strict=True))
    if len(set(limits)) == 1:
        named = {"shape": shapes[0]}
    return torch_trt.Input(**named, dtype=dtype, name="x")  # as torchvision's forward calls it


class ByBatch(torch.nn.Module):
    """Hands images to the first part whose range of batch sizes holds them, or to the last, whatever its range."""

    def __init__(self, parts: Sequence[torch.jit.ScriptModule], ranges: Sequence[Sequence[int]]) -> None:
        super().__init__()
        *first, self.last = parts
        self.first = torch.nn.ModuleList(first)
        self.smallest = [limits[0] for limits in ranges]
        self.largest = [limits[-1] for limits in ranges]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the images."""
        batch = x.size(0)
        for number, part in enumerate(self.first):
            if batch >= self.smallest[number] and batch <= self.largest[number]:
                return part(x)
        return self.last(x)


def choose_by_batch(
    parts: Sequence[torch.jit.ScriptModule], profiles: Sequence[Sequence[int]]
) -> torch.jit.ScriptModule:
    """One module of several, each compiled for a range of batch sizes: a batch takes the narrowest that holds it."""
    narrowest = sorted(zip(profiles, parts, strict=True), key=lambda each: each[0][-1] - each[0][0])
    chosen = torch.jit.script(ByBatch([part for _, part in narrowest], [limits for limits, _ in narrowest]))
    # PyTorch refuses to save a call of a part that the TorchScript front end made: its method is not named after its
    # class. With the parts' contents in place there is no call; the public `torch.jit.freeze` would change more
    torch._C._jit_pass_inline(chosen.graph)
    return chosen


class Mean(torch.nn.Module):
    """Global average pooling of (n, c, h, w) to (n, c)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Mean over height and width."""
        return features.mean((2, 3))


def pool_by_mean(network: torch.nn.Module) -> torch.nn.Module:
    """The same answers from a graph without a reshape: nothing is left to flatten after the pooling.

    Release 2.2 cannot build the reshape of a batch of any size: its converter hands TensorRT a tensor as a dimension.
    """
    pooling = getattr(network, "avgpool", None)
    if isinstance(pooling, torch.nn.AdaptiveAvgPool2d) and pooling.output_size in (1, (1, 1)):
        network.avgpool = Mean()
    return network


def shortcuts_first(network: Any) -> Any:
    """The same answers from a graph (torch.fx) in which a shortcut is computed, and summed, before the residual branch.

    TensorRT 8.6 joins a residual sum with one of the two convolutions that feed it: which one follows from their order,
    and a shortcut of 1 x 1 takes the sum for less than the 3 x 3 of the branch (4% of ResNet-18 in fp16 on an H100).
    """
    for node in network.graph.nodes:
        if node.target not in SUMS or len(node.all_input_nodes) != 2 or node.kwargs:
            continue
        branch, shortcut = node.args
        node.target, node.args = operator.add, (shortcut, branch)
        sources = shortcut.all_input_nodes
        if shortcut.op == "call_module" and len(sources) == 1 and sources[0].next is not shortcut:
            sources[0].append(shortcut)
    network.graph.lint()
    network.recompile()
    return network


def detailed_layers(torch_trt: Any, version: tuple[int, int]) -> Any:
    """Since 2.10 the debugger is what keeps the layers' precisions in the engine; elsewhere nothing is needed."""
    if version < NEW:
        return contextlib.nullcontext()
    folder = tempfile.mkdtemp(prefix="torch_trt_log_")
    return torch_trt.dynamo.Debugger(log_level="warning", engine_builder_monitor=False, logging_dir=folder)


def save(torch_trt: Any, module: Any, source: Any, out: Path) -> str:
    """Write the module; answers with the form that the harness loads it by."""
    if isinstance(module, torch.jit.ScriptModule):
        torch.jit.save(module, str(out))
        return "torchscript"
    torch_trt.save(module, str(out), output_format="exported_program", arg_inputs=[source])
    return "exported_program"
