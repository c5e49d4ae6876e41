"""What a module compiled by Torch-TensorRT holds: TensorRT engines, and the operations that fell back to PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

EXECUTE = "execute_engine"  # tensorrt::execute_engine, in both forms; also ..._dynamic_engine in newer releases
PLUMBING = ("prim::", "getitem", "sym_size", "device", "_guards", "_assert")
CHOICE = {"aten::size", "aten::le", "aten::ge", "aten::__and__"}  # among engines, by the batch size


@dataclass(frozen=True)
class Contents:
    """`engines` answer `get_engine_layer_info`; `calls`: how many nodes run one; `torch_ops`: the others, counted."""

    engines: list[Any]
    calls: int
    torch_ops: dict[str, int]

    def count(self) -> dict[str, Any]:
        """For the row. One engine and no torch_ops: nothing fell back."""
        return {"trt_engines": self.calls, "torch_ops": self.torch_ops}


def read_torchscript(module: Any) -> Contents:
    """Contents of a TorchScript module: `inlined_graph` shows the calls of all its submodules.

    A module that holds several engines, each for a range of batch sizes, calls them in the branches of a condition.
    """
    values: dict[str, Any] = {next(iter(module.inlined_graph.inputs())).debugName(): module}
    engines: list[Any] = []
    names: list[str] = []
    for node in _walk(module.inlined_graph):
        if node.kind() != "prim::GetAttr":
            names.append(node.kind())
            continue
        owner = values.get(node.input().debugName())
        found = getattr(owner, node.s("name"), None)
        values[node.output().debugName()] = found
        if hasattr(found, "get_engine_layer_info"):
            engines.append(found)
    return count_calls(engines, names)


def _walk(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _walk(inner)


def read_exported_program(module: Any) -> Contents:
    """Contents of a loaded program's GraphModule."""
    engines, names = [], []
    for node in module.graph.nodes:
        if node.op == "get_attr":
            found = module
            for part in str(node.target).split("."):
                found = getattr(found, part, None)
            if hasattr(found, "get_engine_layer_info"):
                engines.append(found)
        elif node.op in ("call_function", "call_method", "call_module"):
            names.append(str(node.target))
    return count_calls(engines, names)


def count_calls(engines: list[Any], names: list[str]) -> Contents:
    """Names of operations, sorted into engines, PyTorch's work and what only passes values on."""
    calls = sum(EXECUTE in name or "dynamic_engine" in name for name in names)
    signs = (EXECUTE, *PLUMBING)
    others = Counter(name for name in names if name not in CHOICE and not any(sign in name for sign in signs))
    return Contents(engines, calls, dict(sorted(others.items())))
