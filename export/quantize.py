"""fp32 ONNX file -> INT8 ONNX file, by ONNX Runtime's static quantisation with calibration images."""

from __future__ import annotations

import contextlib
import io
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
Placement = Literal["shortcuts", "all", "inputs", "pool", "no_add", "convolutions"]
CALIBRATION_BATCH = 8
PERCENTILE = 99.99  # of a tensor's values that its range holds: docs/decisions/int8.md


class _Reader:
    """Feeds calibration batches to ONNX Runtime (its CalibrationDataReader protocol), those in a range of them."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        size = limit_batch(CALIBRATION_BATCH, images.shape[-1])
        self._batches = [images[start : start + size] for start in range(0, len(images), size)]
        self.set_range(0, len(self))

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left: Iterator[NDArray[np.float32]] = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._left, None)
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
            "CalibPercentile": PERCENTILE,
            "CalibStridedMinMax": 1,  # of any method: one batch's activations in memory at a time, not those of all
        },
    }


def place_pairs(settings: dict[str, Any], placement: Placement) -> dict[str, Any]:
    """Settings of the style tensorrt with Q-DQ pairs elsewhere: where they stand decides what TensorRT can fuse.

    inputs: only where a quantised operator reads ("all" has them at outputs too, thus before each ReLU). shortcuts: as
    inputs, but a sum reads the convolution before it unquantised, and its shortcut in int8. pool: as inputs, and before
    the max-pooling. no_add: as inputs, but not for sums (a shortcut is int8 where a convolution reads it, too).
    convolutions: at inputs of convolutions alone.
    """
    operators = list(settings["op_types_to_quantize"])
    if placement == "convolutions":
        operators = ["Conv"]
    elif placement == "no_add":
        operators.remove("Add")
    extra = {
        "OpTypesToExcludeOutputQuantization": operators,
        "ForceQuantizeNoInputCheck": placement == "pool",
    }
    return {
        **settings,
        "op_types_to_quantize": operators,
        "extra_options": {**settings["extra_options"], **extra},
    }


def build_int8(
    fp32: Path, calibration: NDArray[np.float32], style: Int8Style, placement: Placement = "all"
) -> onnx.ModelProto:
    """Quantise the file `fp32`, calibrated (`PERCENTILE`) on normalised images (n, 3, size, size).

    Deterministic for the same file, images and versions. Both styles are Q-DQ models for any runtime; they differ in
    what each runtime can fuse (see `quantization_settings`, and `place_pairs` for a `placement` other than "all").
    """
    import onnx  # noqa: PLC0415 - heavy
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    settings = quantization_settings(style)
    if placement != "all":
        settings = place_pairs(settings, placement)
    with tempfile.TemporaryDirectory() as folder, quiet_libraries(), contextlib.redirect_stdout(io.StringIO()):
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
            calibrate_method=CalibrationMethod.Percentile,
            **settings,
        )
        model = onnx.load(quantized)
    if placement == "shortcuts":
        free_sums(model)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)  # pre-processing declares every domain that ONNX Runtime knows
    return model


def free_sums(model: onnx.ModelProto) -> None:
    """Let each sum read the convolution before it (the first, of two) past its Q-DQ pair, in place."""
    makers = {name: node for node in model.graph.node for name in node.output}

    def skip_pair(name: str) -> str:
        for operator in ("DequantizeLinear", "QuantizeLinear"):
            if name in makers and makers[name].op_type == operator:
                name = makers[name].input[0]
        return name

    for node in model.graph.node:
        for index, name in enumerate(node.input if node.op_type == "Add" else []):
            source = skip_pair(name)
            if source in makers and makers[source].op_type == "Conv":
                node.input[index] = source
                break
    for operator in ("DequantizeLinear", "QuantizeLinear"):
        read = {name for node in model.graph.node for name in node.input}
        for node in [node for node in model.graph.node if node.op_type == operator and node.output[0] not in read]:
            model.graph.node.remove(node)
