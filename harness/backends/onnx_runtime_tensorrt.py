"""ONNX Runtime's TensorRT provider: there where the libnvinfer that its library was linked with can be loaded."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import re
from pathlib import Path

import onnxruntime

from harness.backends.base import BackendUnavailable, UnsupportedJob

PROVIDER = "TensorrtExecutionProvider"
OFFERED = ("tf32", "fp16", "int8")  # fp32 is not: the provider has no switch for the TF32 that TensorRT allows itself


def make_provider(precision: str, stream: int) -> tuple[str, dict[str, str]]:
    """The provider's entry for a session, on torch's stream. Raises UnsupportedJob or BackendUnavailable."""
    if precision not in OFFERED:
        raise UnsupportedJob(f"onnx_runtime/tensorrt offers {', '.join(OFFERED)}")
    check_library(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so")
    flags = {"fp16": {"trt_fp16_enable": "1"}, "int8": {"trt_fp16_enable": "1", "trt_int8_enable": "1"}}
    return PROVIDER, {"device_id": "0", "user_compute_stream": str(stream), **flags.get(precision, {})}


def check_library(provider: Path) -> None:
    """Raises BackendUnavailable, with the loader's reason, when the provider's libnvinfer cannot be loaded."""
    if PROVIDER not in onnxruntime.get_available_providers() or not provider.exists():
        raise BackendUnavailable("this ONNX Runtime has no TensorRT provider: install onnxruntime-gpu")
    needed = re.search(rb"libnvinfer\.so\.\d+", provider.read_bytes())
    name = needed[0].decode() if needed else "libnvinfer.so"
    with contextlib.suppress(Exception):  # where TensorRT's wheel is installed, importing it loads its libraries
        importlib.import_module("tensorrt")
    try:
        ctypes.CDLL(name)
    except OSError as error:
        raise BackendUnavailable(f"ONNX Runtime's TensorRT provider needs {name}: {error}") from error
