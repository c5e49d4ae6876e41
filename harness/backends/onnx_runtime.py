"""ONNX Runtime with input and output bound to fixed buffers, so that a run copies nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnxruntime

from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob

OFFERED = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "tf32")}


class OnnxRuntimeBackend(Backend):
    """An exported ONNX file on ONNX Runtime's CPU or CUDA execution provider."""

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.precision not in OFFERED[spec.device]:
            raise UnsupportedJob(f"onnx_runtime on {spec.device} offers {', '.join(OFFERED[spec.device])}")
        if spec.artifact is None:
            raise BackendUnavailable(
                f"no {spec.precision} ONNX file for {spec.image_size} px: "
                f"run `python -m export --image_size {spec.image_size}`"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.device = spec.device
        self.options = onnxruntime.RunOptions()
        providers: list[Any] = ["CPUExecutionProvider"]
        if spec.device == "cuda":
            providers.insert(0, self._cuda_provider(spec))
        self.session = onnxruntime.InferenceSession(spec.artifact, options, providers=providers)
        if spec.device == "cuda" and "CUDAExecutionProvider" not in self.session.get_providers():
            raise BackendUnavailable("ONNX Runtime could not start its CUDA provider (its reason is in the log)")
        self.threads = spec.threads
        self.num_classes = spec.num_classes
        self.binding = self.session.io_binding()
        self.versions = {"onnxruntime": onnxruntime.__version__}

    def _cuda_provider(self, spec: Spec) -> tuple[str, dict[str, str]]:
        """The CUDA provider on torch's stream, which the clock's events are recorded on; a run does not wait for it."""
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise BackendUnavailable("this ONNX Runtime has no CUDA provider: install onnxruntime-gpu")
        import torch  # noqa: PLC0415 - brings the CUDA libraries, the stream and its events; not needed on a CPU

        onnxruntime.preload_dlls()
        self.options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        stream = torch.cuda.current_stream().cuda_stream
        tf32 = "1" if spec.precision == "tf32" else "0"
        return "CUDAExecutionProvider", {"device_id": "0", "user_compute_stream": str(stream), "use_tf32": tf32}

    def bind(self, images: np.ndarray) -> None:
        """See Backend."""
        self.images = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images), self.device)
        self.output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            [len(images), self.num_classes], np.float32, self.device
        )
        self.binding.bind_ortvalue_input(self.session.get_inputs()[0].name, self.images)
        self.binding.bind_ortvalue_output(self.session.get_outputs()[0].name, self.output)

    def run(self) -> None:
        """See Backend."""
        self.session.run_with_iobinding(self.binding, self.options)

    def logits(self) -> np.ndarray:
        """See Backend."""
        if self.device == "cuda":
            import torch  # noqa: PLC0415 - as above

            torch.cuda.synchronize()
        return self.output.numpy().copy()

    def executed(self) -> dict[str, Any]:
        """See Backend."""
        subgraphs = self.session.get_provider_graph_assignment_info()
        nodes = Counter((graph.ep_name, node.op_type) for graph in subgraphs for node in graph.get_nodes())
        return {
            "providers": self.session.get_providers(),
            "nodes": {f"{provider}:{op}": count for (provider, op), count in sorted(nodes.items())},
            "threads": self.threads,
        }
