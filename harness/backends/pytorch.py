"""PyTorch: the baseline every other backend is compared with."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from harness.backends.base import Backend, BackendUnavailable, Spec, UnsupportedJob
from harness.backends.onednn import trace_kernels

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OFFERED = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "fp16", "bf16")}


class PyTorchBackend(Backend):
    """torchvision's network: `eager` (contiguous, NCHW), `channels_last` (NHWC), `compile` (NHWC, Inductor, frozen)."""

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.precision not in OFFERED[spec.device]:
            raise UnsupportedJob(f"pytorch on {spec.device} offers {', '.join(OFFERED[spec.device])}")
        if spec.device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch sees no CUDA device")
        import torchvision.models  # noqa: PLC0415 - counted as loading, and not needed to say `unsupported`

        torch.set_num_threads(spec.threads)
        tf32 = spec.precision == "tf32"
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.spec = spec
        self.dtype = DTYPES[spec.precision]
        self.memory_format = torch.contiguous_format if spec.variant == "eager" else torch.channels_last
        model = torchvision.models.get_model(spec.arch, weights=None, num_classes=spec.num_classes)
        model.load_state_dict(torch.load(spec.weights, map_location="cpu", weights_only=True))
        self.device = torch.device(spec.device)
        self.model = model.eval().to(self.device, self.dtype, memory_format=self.memory_format)
        self.versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        self.compiled: dict[int, tuple[Any, float]] = {}

    def bind(self, images: np.ndarray) -> None:
        """See Backend. The `compile` variant compiles each new batch size here (a static shape, as a server would)."""
        self.images = torch.from_numpy(images).to(self.device, self.dtype, memory_format=self.memory_format)
        self.infer = self.model if self.spec.variant != "compile" else self._compile(len(images))

    def _compile(self, batch_size: int) -> Any:
        if batch_size not in self.compiled:
            import torch._inductor.config  # noqa: PLC0415 - a second of import that only this variant needs

            torch._inductor.config.freezing = True
            torch.compiler.reset()
            start = time.perf_counter()
            compiled = torch.compile(self.model, dynamic=False, fullgraph=True)
            with torch.inference_mode():
                compiled(self.images)
            self.compiled = {batch_size: (compiled, 1000 * (time.perf_counter() - start))}
        return self.compiled[batch_size][0]

    @torch.inference_mode()
    def run(self) -> None:
        """See Backend."""
        self.output = self.infer(self.images)

    def logits(self) -> np.ndarray:
        """See Backend."""
        return self.output.float().cpu().numpy()

    def build_ms(self) -> float | None:
        """Compile time of the bound batch size."""
        found = self.compiled.get(len(self.images))
        return found[1] if found else None

    def gpu_memory_mb(self) -> float | None:
        """Peak of torch's allocator."""
        return torch.cuda.max_memory_allocated() / 1e6 if self.spec.device == "cuda" else None

    def executed(self) -> dict[str, Any]:
        """See Backend. On a CPU the kernels come from oneDNN's own trace of one more inference."""
        weight = next(parameter for parameter in self.model.parameters() if parameter.dim() == 4)
        channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        return {
            "dtype": str(self.output.dtype).removeprefix("torch."),
            "memory_format": "channels_last" if channels_last else "contiguous",
            "compiled": self.spec.variant == "compile",
            "threads": torch.get_num_threads(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
            **(trace_kernels(self.run) if self.spec.device == "cpu" else {}),
        }
