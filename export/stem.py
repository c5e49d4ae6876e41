"""Other ways to write a 7 x 7 stem convolution in an ONNX graph, with the same answers: for runtimes to choose from.

Both also work on Q-DQ files, where weights and images pass through QuantizeLinear and DequantizeLinear: zeros stay
zeros (their zero point is 0) and output channels, which the weights' scales belong to, stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.files import BadInputError

if TYPE_CHECKING:  # heavy: imported where used
    import onnx

Stem = Literal["plain", "padded", "folded"]
PADDED_CHANNELS = 4
QDQ = ("QuantizeLinear", "DequantizeLinear")
STEM = {"kernel_shape": [7, 7], "strides": [2, 2], "pads": [3, 3, 3, 3]}


class _Found(NamedTuple):
    """The stem, the node that reads the images (itself, or their QuantizeLinear), and its weights."""

    convolution: onnx.NodeProto
    reader: onnx.NodeProto
    weights: onnx.TensorProto


def rewrite_stem(model: onnx.ModelProto, stem: Stem) -> None:
    """Replace the stem of `model` in place.

    padded: the images get a fourth channel of zeros. folded: each 2 x 2 block of pixels becomes 12 channels, and the
    7 x 7 convolution of stride 2 one of 4 x 4 and stride 1. Raises BadInputError for a network without such a stem.
    """
    from onnx import helper, numpy_helper  # noqa: PLC0415 - heavy

    if stem == "plain":
        return
    found = _find_stem(model, stem)
    source, changed = found.reader.input[0], f"images_{stem}"
    weights = numpy_helper.to_array(found.weights)
    if stem == "padded":
        missing = PADDED_CHANNELS - weights.shape[1]
        pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, missing, 0, 0]), "stem_pads")
        model.graph.initializer.append(pads)
        node = helper.make_node("Pad", [source, pads.name], [changed], name="stem_pad")
        weights = np.pad(weights, ((0, 0), (0, missing), (0, 0), (0, 0)))
    else:
        node = helper.make_node("SpaceToDepth", [source], [changed], name="stem_fold", blocksize=2)
        weights = fold_weights(weights)
        for attribute in found.convolution.attribute:
            values = {"kernel_shape": [4, 4], "strides": [1, 1], "pads": [2, 2, 1, 1]}.get(attribute.name)
            if values:
                attribute.ints[:] = values
    found.weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights), found.weights.name))
    found.reader.input[0] = changed
    model.graph.node.insert(0, node)
    del model.graph.value_info[:]  # shapes on the way to the stem have changed


def fold_weights(weights: NDArray[np.generic]) -> NDArray[np.generic]:
    """(outputs, channels, 7, 7) at stride 2 -> (outputs, 4 x channels, 4, 4) at stride 1 over SpaceToDepth by 2.

    With a row and a column of zeros before the others, rows 2a and 2a + 1 of the 8 meet the same row of blocks. The
    channels come in SpaceToDepth's order: row in the block, column in the block, channel.
    """
    outputs, channels = weights.shape[:2]
    extended = np.pad(weights, ((0, 0), (0, 0), (1, 0), (1, 0)))
    blocks = extended.reshape(outputs, channels, 4, 2, 4, 2)  # outputs, channel, a, row, b, column
    return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(outputs, 4 * channels, 4, 4)


def _find_stem(model: onnx.ModelProto, stem: Stem) -> _Found:
    """The convolution of three channels, 7 x 7, stride 2, that reads the images. Raises BadInputError."""
    from onnx import helper  # noqa: PLC0415 - heavy

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    initializers = {entry.name: entry for entry in graph.initializer}
    images = graph.input[0]
    even = all(axis.dim_value % 2 == 0 for axis in images.type.tensor_type.shape.dim[2:])
    for node in graph.node:
        values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type != "Conv" or any(values.get(name) != value for name, value in STEM.items()):
            continue
        reader, weights = node, node.input[1]
        while (maker := makers.get(reader.input[0])) and maker.op_type in QDQ:
            reader = maker
        while (maker := makers.get(weights)) and maker.op_type in QDQ:
            weights = maker.input[0]
        tensor = initializers.get(weights)
        if reader.input[0] == images.name and tensor and tensor.dims[1] == 3 and even:  # so it has one group
            return _Found(node, reader, tensor)
    raise BadInputError(
        f"stem {stem}: the network has no 7 x 7 convolution of stride 2 over images of an even size; give plain alone"
    )
