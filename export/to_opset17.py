"""An exported ONNX file in opset 17, which TensorRT 8.6 reads."""

from __future__ import annotations

from pathlib import Path

TENSORRT_OPSET = 17
_POOLING = {"ReduceMean": "GlobalAveragePool", "Reshape": "Flatten"}


def write_opset17(fp32: Path, path: Path) -> Path:
    """Write to `path` the same network in opset 17, with a pooling operator that TensorRT quantises.

    The exporter writes the global average pooling as ReduceMean + Reshape; GlobalAveragePool + Flatten is the same.
    Deterministic.
    """
    import onnx  # noqa: PLC0415 - heavy
    from onnx import version_converter  # noqa: PLC0415 - heavy

    model = onnx.load(fp32)
    for node in model.graph.node:
        if node.op_type in _POOLING:
            node.CopyFrom(onnx.helper.make_node(_POOLING[node.op_type], node.input[:1], node.output, name=node.name))
    used = {name for node in model.graph.node for name in node.input}
    unused = [entry for entry in model.graph.initializer if entry.name not in used]  # axes and shape
    for entry in unused:
        model.graph.initializer.remove(entry)
    onnx.save(version_converter.convert_version(model, TENSORRT_OPSET), path)
    return path
