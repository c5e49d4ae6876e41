"""ONNX Runtime's input and output on an NVIDIA GPU: torch tensors, bound by their addresses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness.backends.base import Spec
from harness.backends.cuda import Transfers, free_memory

DTYPES = {"tensor(float)": (torch.float32, np.float32), "tensor(float16)": (torch.float16, np.float16)}


class CudaBuffers:
    """Input and output of one batch size in device memory, in the model's own types, bound once."""

    def __init__(self, session: Any, images: np.ndarray, spec: Spec) -> None:
        free_memory()
        self.batch_size = len(images)
        source, sink = session.get_inputs()[0], session.get_outputs()[0]
        (self.dtype, numpy_in), (output_dtype, numpy_out) = DTYPES[source.type], DTYPES[sink.type]
        self.images = torch.empty(images.shape, dtype=self.dtype, device="cuda")
        self.output = torch.empty(len(images), spec.num_classes, dtype=output_dtype, device="cuda")
        self.transfers: Transfers | None = None
        self.binding = session.io_binding()
        self.binding.bind_input(source.name, "cuda", 0, numpy_in, images.shape, self.images.data_ptr())
        self.binding.bind_output(sink.name, "cuda", 0, numpy_out, tuple(self.output.shape), self.output.data_ptr())

    def fill(self, images: np.ndarray) -> None:
        """Put other images of the same shape into the input."""
        self.images.copy_(torch.from_numpy(images))
        torch.cuda.synchronize()

    def upload(self) -> None:
        """Pinned host images to the device, without waiting."""
        self.transfers = self.transfers or Transfers(self.images, self.output)
        self.transfers.upload()

    def download(self) -> None:
        """Logits to pinned host memory, without waiting."""
        assert self.transfers is not None  # noqa: S101 - for the type checker
        self.transfers.download(self.output)

    def read(self) -> np.ndarray:
        """The logits of the last run."""
        torch.cuda.synchronize()
        return self.output.float().cpu().numpy()
