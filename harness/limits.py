"""What libraries cannot address, however much memory there is: a tensor of more than 2^31 - 1 elements.

TensorRT says so ("tensor volume exceeds (2^31)-1"); cuDNN under ONNX Runtime says CUDNN_STATUS_NOT_SUPPORTED, and a
module of Torch-TensorRT answers nothing. PyTorch splits such a batch and is the one that goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_ELEMENTS = 2**31 - 1


def explain_crash(reason: str, layers: Sequence[dict[str, Any]], batch_size: int) -> str:
    """`reason`, with this cause where the network has a layer whose output would be that large.

    `layers` are those of the export's manifest (`name`, `output_elements` of one image); none where it has none.
    """
    largest = max(layers, key=lambda layer: layer["output_elements"], default=None)
    if largest is None or (elements := largest["output_elements"] * batch_size) <= MOST_ELEMENTS:
        return reason
    most = MOST_ELEMENTS // largest["output_elements"]
    return (
        f"the output of {largest['name']} would hold {elements:,} elements; libraries that count them in 31 "
        f"bits stop at batch {most}. {reason}"
    )
