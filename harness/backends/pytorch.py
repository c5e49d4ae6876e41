"""PyTorch: the baseline every other backend is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class PyTorchBackend(Backend):
    """torchvision's network in eager mode, in contiguous (NCHW) or channels_last (NHWC) memory format."""

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.precision not in DTYPES:
            raise UnsupportedJob(f"pytorch on {spec.device} offers {', '.join(DTYPES)}, not {spec.precision}")
        if spec.device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch sees no CUDA device")
        import torchvision.models  # noqa: PLC0415 - counted as loading, and not needed to say `unsupported`

        torch.set_num_threads(spec.threads)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        self.dtype = DTYPES[spec.precision]
        self.memory_format = torch.contiguous_format if spec.variant == "eager" else torch.channels_last
        model = torchvision.models.get_model(spec.arch, weights=None, num_classes=spec.num_classes)
        model.load_state_dict(torch.load(spec.weights, map_location="cpu", weights_only=True))
        self.device = torch.device(spec.device)
        self.model = model.eval().to(self.device, self.dtype, memory_format=self.memory_format)
        self.versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}

    def bind(self, images: np.ndarray) -> None:
        """See Backend."""
        self.images = torch.from_numpy(images).to(self.device, self.dtype, memory_format=self.memory_format)

    @torch.inference_mode()
    def run(self) -> None:
        """See Backend."""
        self.output = self.model(self.images)

    def logits(self) -> np.ndarray:
        """See Backend."""
        return self.output.float().cpu().numpy()

    def executed(self) -> dict[str, Any]:
        """See Backend."""
        weight = self.model.conv1.weight if hasattr(self.model, "conv1") else next(self.model.parameters())
        channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        return {
            "dtype": str(self.output.dtype).removeprefix("torch."),
            "memory_format": "channels_last" if channels_last else "contiguous",
            "threads": torch.get_num_threads(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        }
