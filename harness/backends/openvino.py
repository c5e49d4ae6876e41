"""OpenVINO on the CPU, with its precision asked for explicitly: left alone it runs bf16 where the CPU has AMX."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import openvino

from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob

# An INT8 model keeps fp32 for the layers that are not quantised.
INFERENCE_PRECISION = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
COMPUTE_LAYERS = ("Convolution", "FullyConnected", "MatMul")


class OpenVinoBackend(Backend):
    """The exported ONNX file, compiled for each batch size, one stream on all threads (lowest latency)."""

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.device != "cpu":
            raise UnsupportedJob("openvino is measured on CPUs only")
        if spec.precision not in INFERENCE_PRECISION:
            raise UnsupportedJob(f"openvino on a CPU offers {', '.join(INFERENCE_PRECISION)}, not {spec.precision}")
        if spec.artifact is None:
            raise BackendUnavailable(
                f"no ONNX file for {spec.precision} at {spec.image_size} px: run `python -m export {spec.export_flags}`"
            )
        self.spec = spec
        self.core = openvino.Core()
        self.model = self.core.read_model(spec.artifact)
        self.batch_size = 0
        self.versions = {"openvino": openvino.__version__}

    def bind(self, images: np.ndarray) -> None:
        """See Backend. A new batch size is compiled here."""
        if len(images) != self.batch_size:
            self.batch_size = len(images)
            self._compile(images.shape)
        self.images = np.ascontiguousarray(images)
        self.request.set_input_tensor(openvino.Tensor(self.images, shared_memory=True))

    def _compile(self, shape: tuple[int, ...]) -> None:
        start = time.perf_counter()
        self.model.reshape(list(shape))
        settings = {
            "INFERENCE_PRECISION_HINT": INFERENCE_PRECISION[self.spec.precision],
            "INFERENCE_NUM_THREADS": self.spec.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.compiled = self.core.compile_model(self.model, "CPU", settings)
        self.request = self.compiled.create_infer_request()
        self.compile_ms = 1000 * (time.perf_counter() - start)

    def run(self) -> None:
        """See Backend."""
        self.request.infer()

    def logits(self) -> np.ndarray:
        """See Backend."""
        return self.request.get_output_tensor().data.astype(np.float32)

    def build_ms(self) -> float | None:
        """Compile time of the bound batch size."""
        return self.compile_ms

    def executed(self) -> dict[str, Any]:
        """See Backend: kernels and precisions of the layers that compute, from the compiled graph itself."""
        kernels: Counter[str] = Counter()
        dtypes: Counter[str] = Counter()
        for node in self.compiled.get_runtime_model().get_ops():
            info = {name: str(value.astype(str)) for name, value in node.get_rt_info().items()}
            if info.get("layerType") in COMPUTE_LAYERS:
                kernels[f"{info['layerType']} {info['primitiveType']}"] += 1
                dtypes[info["runtimePrecision"]] += 1
        return {
            "kernels": dict(sorted(kernels.items())),
            "compute_dtypes": dict(sorted(dtypes.items())),
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
            "inference_precision": str(self.compiled.get_property("INFERENCE_PRECISION_HINT")),
        }
