"""An exported ONNX file in opset 17, which TensorRT 8.6 reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from export.files import CheckFailedError

if TYPE_CHECKING:  # heavy: imported where used
    import onnx

TENSORRT_OPSET = 17
SPATIAL = ([2, 3], [-2, -1], [-1, -2])


def write_opset17(fp32: Path, path: Path) -> Path:
    """Write to `path` the same network in opset 17, with a pooling operator that TensorRT quantises.

    The exporter writes the global average pooling as ReduceMean + Reshape; GlobalAveragePool + Flatten is the same.
    Deterministic. Raises CheckFailedError for a network with an operator that opset 17 lacks.
    """
    import onnx  # noqa: PLC0415 - heavy
    from onnx import version_converter  # noqa: PLC0415 - heavy

    model = onnx.load(fp32)
    values = {
        entry.name: onnx.numpy_helper.to_array(entry).tolist()
        for entry in model.graph.initializer
        if len(entry.dims) == 1
    }
    pooled: set[str] = set()
    for node in model.graph.node:
        pools = node.op_type == "ReduceMean" and keeps_axes(node) and values.get(node.input[1]) in SPATIAL
        flattens = node.op_type == "Reshape" and node.input[0] in pooled and len(values.get(node.input[1], [])) == 2
        if pools or flattens:
            replaced = "GlobalAveragePool" if pools else "Flatten"
            node.CopyFrom(onnx.helper.make_node(replaced, node.input[:1], node.output, name=node.name))
            pooled.update(node.output)
    used = {name for node in model.graph.node for name in node.input}
    unused = [entry for entry in model.graph.initializer if entry.name not in used]  # axes and shape
    for entry in unused:
        model.graph.initializer.remove(entry)
    try:
        converted = version_converter.convert_version(model, TENSORRT_OPSET)
    except Exception as error:  # its errors share no class of their own
        reason = " ".join(str(error).split())[:200]
        raise CheckFailedError(f"{fp32.name}: cannot be written in opset 17, which this needs: {reason}") from error
    onnx.save(converted, path)
    return path


def keeps_axes(node: onnx.NodeProto) -> bool:
    """Whether a reduction leaves axes of length 1 behind."""
    return all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
