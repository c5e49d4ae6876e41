"""Which precision each layer of a TensorRT engine computes in: read from the engine inspector's JSON. Pure.

The format is that of the developer guide's "Engine Inspector" section. TensorRT 8.6 describes a tensor in words
(`"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"`), 10 by its type (`"Half"`); a text may hold
raw control characters. For a dynamic batch 8.6 writes "N/A due to dynamic shapes" instead, and the weights' type is
left to tell (`"Weights": {"Type": "Half"}`, or `"ConvWeights"` where a pooling is part of the kernel): a kernel
multiplies in the type of both. Engines that were not built with
detailed profiling verbosity list layer names only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

COMPUTE = re.compile(r"conv|gemm|matrixmultiply|matmul|fullyconnected|fully_connected", re.IGNORECASE)
DATATYPES = (
    ("int8", re.compile(r"int8", re.IGNORECASE)),
    ("fp8", re.compile(r"fp8", re.IGNORECASE)),
    ("bf16", re.compile(r"bf16|bfloat16", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)


def read_layers(text: str) -> list[Any]:
    """The inspector's `Layers`: a dict each, or a name each where verbosity was low. Raises ValueError: not JSON."""
    return json.loads(text, strict=False).get("Layers", [])


def count_layers(layers: list[Any]) -> dict[str, Any]:
    """`compute_dtypes`: input types of convolutions and matrix products; `layer_types`; `layers`, how many there are.

    A layer in fp32 whose kernel's name says TF32 counts as tf32. Without details only `layers` is known.
    """
    detailed = [layer for layer in layers if isinstance(layer, dict) and "LayerType" in layer]
    dtypes = Counter(find_dtype(layer) for layer in detailed if computes(layer))
    types = Counter(layer["LayerType"] for layer in detailed)
    known = {"compute_dtypes": dict(sorted(dtypes.items())), "layer_types": dict(sorted(types.items()))}
    return {"layers": len(layers), **{name: counts for name, counts in known.items() if counts}}


def computes(layer: dict[str, Any]) -> bool:
    """Whether it is a convolution or a matrix product; copies, pooling and pointwise layers are not."""
    kind = f"{layer['LayerType']} {layer.get('ParameterType', '')}"
    return bool(COMPUTE.search(kind)) and "reformat" not in kind.lower()


def find_dtype(layer: dict[str, Any]) -> str:
    """Type of the first input, else the layer's own, else its weights'; `unknown` where none is told."""
    inputs = [entry for entry in layer.get("Inputs", []) if isinstance(entry, dict)]
    texts = [str(entry.get(key, "")) for entry in inputs[:1] for key in ("Datatype", "Format/Datatype", "Format")]
    weights = [str(layer.get(key, "")) for key in ("Weights", "ConvWeights")]
    for text in (*texts, str(layer.get("Precision", "")), *weights):
        for name, pattern in DATATYPES:
            if pattern.search(text):
                tf32 = name == "fp32" and "tf32" in str(layer.get("TacticName", "")).lower()
                return "tf32" if tf32 else name
    return "unknown"
