"""fp32 ONNX file -> INT8 ONNX file, by ONNX Runtime's static quantisation with calibration images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.samples import limit_batch
from export.to_onnx import INPUT_NAME, quiet_libraries
from export.to_opset17 import write_opset17

if TYPE_CHECKING:  # heavy: imported where used
    import onnx

Int8Style = Literal["cpu", "tensorrt"]
CALIBRATION_BATCH = 8


class _Reader:
    """Feeds calibration batches to ONNX Runtime (its CalibrationDataReader protocol)."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        size = limit_batch(CALIBRATION_BATCH, images.shape[-1])
        starts = range(0, len(images), size)
        self._batches: Iterator[NDArray[np.float32]] = (images[start : start + size] for start in starts)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def quantization_settings(style: Int8Style) -> dict[str, Any]:
    """Arguments of `quantize_static` for a style; weights are symmetric int8 per output channel in both.

    cpu: unsigned, asymmetric activations and Relu among the quantised operators. Then ReLU becomes the lower bound of
    the output range, all 20 convolutions fuse (Conv -> QLinearConv) and nothing runs in fp32 between them; with
    symmetric int8 activations ONNX Runtime keeps 17 Relu and 11 Conv in fp32 and is slower than fp32.
    tensorrt: it accepts a zero point of 0 only, wants Q-DQ on the weights too, and adds the bias in fp32.
    """
    from onnxruntime.quantization import QuantType  # noqa: PLC0415 - heavy

    operators = ["Conv", "Gemm", "Add", "MaxPool"]
    if style == "cpu":
        activation, operators, symmetric = QuantType.QUInt8, [*operators, "Relu"], False
    else:
        activation, operators, symmetric = QuantType.QInt8, [*operators, "GlobalAveragePool"], True
    return {
        "activation_type": activation,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "reduce_range": False,  # 7 bits only serve CPUs without VNNI, whose int8 products saturate 16 bits
        "op_types_to_quantize": operators,
        "extra_options": {
            "ActivationSymmetric": symmetric,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": symmetric,
            "QuantizeBias": not symmetric,
        },
    }


def build_int8(fp32: Path, calibration: NDArray[np.float32], style: Int8Style) -> onnx.ModelProto:
    """Quantise the file `fp32`, calibrated (minimum and maximum) on normalised images (n, 3, size, size).

    Deterministic for the same file, images and versions. Both styles are Q-DQ models for any runtime; they differ in
    what each runtime can fuse (see `quantization_settings`).
    """
    import onnx  # noqa: PLC0415 - heavy
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        if style == "tensorrt":
            fp32 = write_opset17(fp32, Path(folder) / "tensorrt.onnx")
        # Optimise the graph and infer shapes, as ONNX Runtime asks; the symbolic inference would add nothing: only the
        # batch is unknown, and the exporter wrote all other shapes down.
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            **quantization_settings(style),
        )
        model = onnx.load(quantized)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)  # pre-processing declares every domain that ONNX Runtime knows
    return model
