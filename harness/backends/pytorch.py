"""PyTorch: the baseline every other backend is compared with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.backends.base import PROFILED, Backend, BackendUnavailable, Spec, UnsupportedJob
from harness.backends.compiled import Compiled
from harness.backends.cuda import Batch, free_memory, ignore_libraries
from harness.backends.onednn import trace_kernels

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OFFERED = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "fp16", "bf16")}
CUDA_ONLY = ("graph", "fused", "compile_dynamic")
COMPILED = ("compile", "compile_dynamic")
# how Inductor on a CPU and Triton say that there is no compiler: their error classes are private
NO_COMPILER = ("No working C++ compiler", "Failed to find C compiler")
CAPTURED = ("graph", *COMPILED, "fused")  # on a GPU
SEARCHED = 10  # algorithms of cuDNN timed for each convolution, in the order of its own heuristic; torch's default


class PyTorchBackend(Backend):
    """torchvision's network.

    `eager`: contiguous, NCHW. All others are channels_last (NHWC): `channels_last` eager; `graph` the same in a CUDA
    graph; `compile` by Inductor with frozen weights, for each batch size anew; `compile_dynamic` the same once for all
    of them but 1; `fused` of cuDNN's fused calls. On a GPU the last three run in a CUDA graph too, captured over fixed
    addresses: what `mode="reduce-overhead"` does, without its copy of the input.
    """

    compiled: Compiled | None = None

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.precision not in OFFERED[spec.device]:
            raise UnsupportedJob(f"pytorch on {spec.device} offers {', '.join(OFFERED[spec.device])}")
        if spec.device == "cpu" and spec.variant in CUDA_ONLY:
            raise UnsupportedJob(f"pytorch/{spec.variant} needs an NVIDIA GPU")
        if spec.device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch sees no CUDA device")
        import torchvision.models  # noqa: PLC0415 - counted as loading, and not needed to say `unsupported`

        self.drop()
        ignore_libraries()
        torch.set_num_threads(spec.threads)
        tf32 = spec.precision == "tf32"
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        if spec.device == "cuda":
            free_memory()  # else the next job would begin with the memory of an earlier model, and be said to need it
            torch.backends.cudnn.benchmark_limit = SEARCHED
        self.spec = spec
        self.dtype = DTYPES[spec.precision]
        self.memory_format = torch.contiguous_format if spec.variant == "eager" else torch.channels_last
        model = torchvision.models.get_model(
            spec.arch, weights=None, num_classes=spec.num_classes, **spec.arch_arguments
        )
        model.load_state_dict(torch.load(spec.weights, map_location="cpu", weights_only=True))
        if spec.variant == "fused":
            from harness.backends.cudnn_fused import fuse  # noqa: PLC0415 - of this variant alone

            if not isinstance(model, torchvision.models.ResNet):
                raise UnsupportedJob(f"pytorch/fused knows how to fuse ResNets only, not {spec.arch}")
            model = fuse(model.eval())
        self.device = torch.device(spec.device)
        self.network = model.eval().to(self.device, self.dtype, memory_format=self.memory_format)
        shared = spec.variant == "compile_dynamic"
        self.compiled = Compiled(self.network, shared=shared) if spec.variant in COMPILED else None
        self.versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        if spec.device == "cuda":
            self.versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}

    def drop(self) -> None:
        """Let go of what an earlier load left, before anything new is built."""
        self.batch: Batch | None = None
        if self.compiled is not None:
            self.compiled.drop()
        self.compiled = None
        self.network = torch.nn.Module()

    @property
    def bound(self) -> Batch:
        """The batch size in use."""
        if self.batch is None:
            raise RuntimeError("bind() comes first")
        return self.batch

    def build(self, batch_sizes: list[int]) -> None:
        """See Backend."""
        if self.compiled is None:
            return
        side = self.spec.image_size
        images = self._place(torch.zeros(batch_sizes[0], 3, side, side))  # as in `bind`, outside inference mode
        with torch.inference_mode():
            self.compiled.build(images)

    def bind(self, images: np.ndarray) -> None:
        """See Backend. For a new batch size algorithms are chosen, and the network compiled or captured, here."""
        batch = torch.from_numpy(images)
        if self.batch is None or self.batch.images.shape != batch.shape:
            self.batch = None
            if self.spec.device == "cuda":
                free_memory()
            self.batch = self._prepare(self._place(batch))
        else:
            self.batch.images.copy_(batch)

    def _place(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(self.device, self.dtype, memory_format=self.memory_format)

    @torch.inference_mode()
    def _prepare(self, images: torch.Tensor) -> Batch:
        """One graph for each batch size; of compilations see Compiled."""
        on_gpu = self.spec.device == "cuda"
        try:
            infer = self.compiled.get(images) if self.compiled else self.network
            if on_gpu:  # what a shared compilation took for its example is not this batch size's memory
                free_memory()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            batch = Batch(infer, images, captured=on_gpu and self.spec.variant in CAPTURED)
        except Exception as error:
            if any(sign in str(error) for sign in NO_COMPILER):
                raise BackendUnavailable("torch.compile needs a C++ compiler: install g++ (or set CXX)") from error
            raise
        if on_gpu:
            torch.cuda.synchronize()
        compiled_ms = self.compiled.build_ms(len(images)) if self.compiled else 0.0
        self.prepare_ms = 1000 * (time.perf_counter() - start) + compiled_ms
        return batch

    @torch.inference_mode()
    def run(self) -> None:
        """See Backend."""
        self.bound.run()

    @torch.inference_mode()
    def run_with_transfers(self) -> None:
        """See Backend."""
        self.bound.run_with_transfers()

    def logits(self) -> np.ndarray:
        """See Backend."""
        return self.bound.output.float().cpu().numpy()

    def build_ms(self) -> float | None:
        """Time to choose algorithms, compile and capture for the bound batch size; None where nothing of it is done.

        A compilation that several batch sizes share is counted for each; one made ahead (`build`), beside other
        processes, with the time that took.
        """
        return self.prepare_ms if self.spec.device == "cuda" or self.compiled is not None else None

    def gpu_memory_mb(self) -> float | None:
        """Peak of torch's allocator at the bound batch size."""
        return torch.cuda.max_memory_allocated() / 1e6 if self.spec.device == "cuda" else None

    def profile(self, images: np.ndarray, path: Path) -> None:
        """See Backend: torch.profiler, on a GPU with its kernels."""
        from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415 - must not be loaded where times are taken

        self.bind(images)
        on_gpu = self.spec.device == "cuda"
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as trace:
            for _ in range(PROFILED):
                self.run()
            if on_gpu:
                torch.cuda.synchronize()
        trace.export_chrome_trace(str(path))

    def executed(self) -> dict[str, Any]:
        """See Backend. On a CPU the kernels come from oneDNN's own trace of one more inference."""
        weight = next(tensor for tensor in self.network.state_dict().values() if tensor.dim() == 4)
        channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        on_cpu = self.spec.device == "cpu"
        return {
            "dtype": str(self.bound.output.dtype).removeprefix("torch."),
            "memory_format": "channels_last" if channels_last else "contiguous",
            "compiled": self.compiled is not None,
            **({"dynamic_batch": self.compiled.is_shared(len(self.bound.images))} if self.compiled else {}),
            "threads": torch.get_num_threads(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
            **(trace_kernels(self.run) if on_cpu else self._executed_on_gpu()),
        }

    def _executed_on_gpu(self) -> dict[str, Any]:
        return {"graph": self.bound.graph is not None, "cudnn_benchmark_limit": torch.backends.cudnn.benchmark_limit}
