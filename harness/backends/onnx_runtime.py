"""ONNX Runtime with input and output bound to fixed buffers, so that a run copies nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnxruntime

from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob


class OnnxRuntimeBackend(Backend):
    """An exported ONNX file on ONNX Runtime's CPU execution provider."""

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.device != "cpu":
            raise UnsupportedJob("onnx_runtime runs on the CPU provider only in this version")
        if spec.artifact is None:
            raise BackendUnavailable(
                f"no {spec.precision} ONNX file for {spec.image_size} px: "
                f"run `python -m export --image_size {spec.image_size}`"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.session = onnxruntime.InferenceSession(spec.artifact, options, providers=["CPUExecutionProvider"])
        self.threads = spec.threads
        self.num_classes = spec.num_classes
        self.binding = self.session.io_binding()
        self.versions = {"onnxruntime": onnxruntime.__version__}

    def bind(self, images: np.ndarray) -> None:
        """See Backend."""
        self.images = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images), "cpu")
        self.output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            [len(images), self.num_classes], np.float32, "cpu"
        )
        self.binding.bind_ortvalue_input(self.session.get_inputs()[0].name, self.images)
        self.binding.bind_ortvalue_output(self.session.get_outputs()[0].name, self.output)

    def run(self) -> None:
        """See Backend."""
        self.session.run_with_iobinding(self.binding)

    def logits(self) -> np.ndarray:
        """See Backend."""
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
