"""fp32 ONNX model -> the same in half precision, input and output included: what a GPU runs on its tensor cores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from export.to_onnx import quiet_libraries

if TYPE_CHECKING:  # heavy: imported where used
    import onnx


def build_fp16(fp32: Path) -> onnx.ModelProto:
    """The file `fp32` with every tensor in float16, by ONNX Runtime's converter. Deterministic."""
    import onnx  # noqa: PLC0415 - heavy
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - heavy

    with quiet_libraries():
        return convert_float_to_float16(onnx.load(fp32), keep_io_types=False)
