"""ONNX Runtime with input and output bound to fixed buffers, so that a run copies nothing."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from harness.backends.base import PROFILED, Backend, BackendUnavailable, Spec, UnsupportedJob

OFFERED = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "tf32", "fp16")}
# Beside what the clock and the label need (stream, TF32 switch), `default` is the provider as it comes.
TUNED = {"prefer_nhwc": "1", "cudnn_conv_algo_search": "EXHAUSTIVE", "enable_cuda_graph": "1", "fuse_conv_bias": "0"}


class OnnxRuntimeBackend(Backend):
    """An exported ONNX file on ONNX Runtime's CPU or CUDA execution provider.

    `default`: the provider's own settings. `tuned` (CUDA): NHWC convolutions, exhaustive search for the fastest
    algorithm, one CUDA graph for each batch size. `tensorrt`: the TensorRT provider, which builds when it first meets
    a batch size.
    """

    def load(self, spec: Spec) -> None:
        """See Backend."""
        if spec.device == "cpu" and spec.variant != "default":
            raise UnsupportedJob(f"onnx_runtime/{spec.variant} needs an NVIDIA GPU")
        if spec.precision not in OFFERED[spec.device] and spec.variant != "tensorrt":
            raise UnsupportedJob(f"onnx_runtime on {spec.device} offers {', '.join(OFFERED[spec.device])}")
        if spec.artifact is None:
            to = "reference,onnx" if spec.precision in ("fp32", "tf32") else f"reference,onnx,{spec.precision}"
            style = " --int8_style tensorrt" if (spec.variant, spec.precision) == ("tensorrt", "int8") else ""
            raise BackendUnavailable(
                f"no {spec.precision} ONNX file for {spec.image_size} px: "
                f"run `python -m export {spec.export_flags} --to '[{to}]'{style}`"
            )
        self.buffers: Any = None  # ONNX Runtime and the buffers carry no types
        self.session: Any = None
        self.spec = spec
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.options = make_run_options(spec.device)
        self.versions = {"onnxruntime": onnxruntime.__version__}
        providers: list[Any] = ["CPUExecutionProvider"]
        if spec.device == "cuda":
            providers.insert(0, self._cuda_provider(spec))
        if spec.variant == "tensorrt":
            from harness.backends import onnx_runtime_tensorrt  # noqa: PLC0415 - of this variant alone

            stream = providers[0][1]["user_compute_stream"]
            providers.insert(0, onnx_runtime_tensorrt.make_provider(spec.precision, int(stream)))
        self.session_options, self.providers = options, providers
        self.session = onnxruntime.InferenceSession(spec.artifact, options, providers=providers)
        wanted = next(entry if isinstance(entry, str) else entry[0] for entry in providers)
        if wanted not in self.session.get_providers():
            raise BackendUnavailable(f"ONNX Runtime could not start its {wanted} (its reason is in the log)")

    def _cuda_provider(self, spec: Spec) -> tuple[str, dict[str, str]]:
        """The CUDA provider on torch's stream, which the clock's events are recorded on; a run does not wait for it."""
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise BackendUnavailable("this ONNX Runtime has no CUDA provider: install onnxruntime-gpu")
        import torch  # noqa: PLC0415 - brings the CUDA libraries, the stream and its events; not needed on a CPU

        from harness.backends.cuda import free_memory, ignore_libraries  # noqa: PLC0415 - needs torch

        free_memory()
        ignore_libraries()
        onnxruntime.preload_dlls()
        self.versions |= {"torch": torch.__version__, "cudnn": str(torch.backends.cudnn.version())}
        stream = torch.cuda.current_stream().cuda_stream
        return "CUDAExecutionProvider", choose_cuda_options(spec.precision, spec.variant, stream)

    def share(self) -> Backend:
        """See Backend. Which CUDA graph is meant is an option of the run, so each handle has its own."""
        other = copy.copy(self)
        other.options = make_run_options(self.spec.device)
        return other

    def bind(self, images: np.ndarray) -> None:
        """See Backend. Buffers of one batch size keep their addresses, as a CUDA graph needs."""
        if self.buffers is None or self.buffers.batch_size != len(images):
            self.buffers = None
            self.buffers = self._make_buffers(images)
        self.buffers.fill(images)

    def _make_buffers(self, images: np.ndarray) -> Any:
        if self.spec.device == "cpu":
            return CpuBuffers(self.session, images, self.spec.num_classes)
        from harness.backends.onnx_runtime_cuda import CudaBuffers  # noqa: PLC0415 - needs torch

        if self.spec.variant == "tuned":
            self.options.add_run_config_entry("gpu_graph_id", str(len(images)))
        return CudaBuffers(self.session, images, self.spec)

    def run(self) -> None:
        """See Backend."""
        self.session.run_with_iobinding(self.buffers.binding, self.options)

    def run_with_transfers(self) -> None:
        """See Backend."""
        self.buffers.upload()
        self.run()
        self.buffers.download()

    def logits(self) -> np.ndarray:
        """See Backend."""
        return self.buffers.read()

    def profile(self, images: np.ndarray, path: Path) -> None:
        """See Backend: the library's own trace, of a session made like the timed one."""
        self.session_options.enable_profiling = True
        self.session_options.profile_file_prefix = str(path.with_suffix(""))
        self.session = onnxruntime.InferenceSession(self.spec.artifact, self.session_options, providers=self.providers)
        self.buffers = None
        self.bind(images)
        for _ in range(PROFILED):
            self.run()
        Path(self.session.end_profiling()).replace(path)

    def executed(self) -> dict[str, Any]:
        """See Backend."""
        subgraphs = self.session.get_provider_graph_assignment_info()
        nodes = Counter((graph.ep_name, node.op_type) for graph in subgraphs for node in graph.get_nodes())
        on_gpu = self.spec.device == "cuda"
        fallen = sorted(op for provider, op in nodes if provider == "CPUExecutionProvider")
        return {
            "providers": self.session.get_providers(),
            "nodes": {f"{provider}:{op}": count for (provider, op), count in sorted(nodes.items())},
            "threads": self.spec.threads,
            **(self._executed_on_gpu(fallen) if on_gpu else {}),
        }

    def _executed_on_gpu(self, fallen: list[str]) -> dict[str, Any]:
        """Nodes left to the CPU, and the settings of speed as the session has them, given by us or by default."""
        settings = self.session.get_provider_options()["CUDAExecutionProvider"]
        return {
            "cpu_nodes": fallen,
            "graph": self.spec.variant == "tuned",
            "provider_options": {name: settings[name] for name in ("use_tf32", *TUNED)},
        }


def choose_cuda_options(precision: str, variant: str, stream: int) -> dict[str, str]:
    """The CUDA provider's settings.

    Its `use_tf32` is a switch for tensor cores: where it is off, convolutions of any type are kept away from them, and
    fp16 at batch 1024 took 7 times as long on an H200 (onnxruntime/core/providers/cuda/nn/conv.cc, ONNX Runtime 1.31).
    """
    tensor_cores = "0" if precision == "fp32" else "1"
    needed = {"device_id": "0", "user_compute_stream": str(stream), "use_tf32": tensor_cores}
    fused_bias = {"fuse_conv_bias": "1"} if precision == "tf32" else {}  # a loss in fp16: docs/decisions/gpu-timing.md
    return {**needed, **({**TUNED, **fused_bias} if variant == "tuned" else {})}


def make_run_options(device: str) -> Any:
    """On a GPU a run does not wait for its result: the clock does."""
    options = onnxruntime.RunOptions()
    if device == "cuda":
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


class CpuBuffers:
    """Input and output of one batch size in host memory, bound once."""

    def __init__(self, session: Any, images: np.ndarray, num_classes: int) -> None:
        self.batch_size = len(images)
        self.images = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images), "cpu")
        self.output = onnxruntime.OrtValue.ortvalue_from_shape_and_type([len(images), num_classes], np.float32, "cpu")
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input(session.get_inputs()[0].name, self.images)
        self.binding.bind_ortvalue_output(session.get_outputs()[0].name, self.output)

    def fill(self, images: np.ndarray) -> None:
        """Put other images of the same shape into the input."""
        self.images.update_inplace(np.ascontiguousarray(images))

    def read(self) -> np.ndarray:
        """The logits of the last run."""
        return self.output.numpy().copy()
