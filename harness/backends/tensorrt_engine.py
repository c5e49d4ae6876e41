"""A TensorRT engine that `python -m export --to engine` built, executed natively; torch holds the device memory."""

from __future__ import annotations

from typing import Any

import torch

from harness.backends import cuda
from harness.backends.base import BackendUnavailable, UnsupportedJob
from harness.backends.built import BuiltBackend
from harness.backends.engine_files import describe_build
from harness.backends.engine_profiles import Profile, choose_profile, number_profiles
from harness.backends.inspector import count_layers, read_layers

DTYPES = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16}  # by the name of TensorRT's
PADDED_CHANNELS = 8  # of the layout nhwc8


class TensorRtEngineBackend(BuiltBackend):
    """`default`: enqueued call by call; `graph`: the same in a CUDA graph, one for each batch size."""

    library, name, offered = "tensorrt", "tensorrt_engine", ("fp32", "tf32", "fp16", "int8")

    def drop(self) -> None:
        """See BuiltBackend."""
        self.context: Any = None  # before the engine that it belongs to
        self.engine: Any = None

    def read(self, library: Any, content: bytes) -> dict[str, Any]:
        """See BuiltBackend."""
        self.logger = library.Logger(library.Logger.WARNING)
        self.runtime = library.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine(content)
        if self.engine is None:
            raise BackendUnavailable(f"TensorRT {library.__version__} cannot load the engine: export it again")
        self.versions = {
            "tensorrt": library.__version__,
            "torch": torch.__version__,
            "cuda": str(torch.version.cuda),
        }
        self.source, self.sink = find_tensors(self.engine, library)
        self.profiles = list_profiles(self.engine, self.source)
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise RuntimeError("TensorRT: out of memory while making the execution context")
        inspector = self.engine.create_engine_inspector()
        layers = read_layers(inspector.get_engine_information(library.LayerInformationFormat.JSON))
        return {**count_layers(layers), **describe_build(self.manifest)}

    def place(self, batch: torch.Tensor) -> torch.Tensor:
        """See BuiltBackend. Chooses the narrowest profile that holds the batch, and fixes shapes and addresses."""
        profile = choose_profile(self.profiles, len(batch))
        stream = torch.cuda.current_stream()
        if not self.context.set_optimization_profile_async(profile.number, stream.cuda_stream):
            raise RuntimeError(f"TensorRT refused optimisation profile {profile.number}")
        stream.synchronize()
        in_dtype, out_dtype = (DTYPES[self.engine.get_tensor_dtype(name).name] for name in (self.source, self.sink))
        images = arrange(batch.to(cuda.DEVICE, in_dtype), self.manifest.get("input_layout", "nchw"))
        self.output = torch.empty(len(batch), self.spec.num_classes, dtype=out_dtype, device=cuda.DEVICE)
        if not self.context.set_input_shape(self.source, tuple(batch.shape)):
            raise UnsupportedJob(f"the engine does not take images of shape {tuple(batch.shape)}")
        self.context.set_tensor_address(self.source, images.data_ptr())
        self.context.set_tensor_address(self.sink, self.output.data_ptr())
        self.evidence["profile"] = list(profile[1:])
        return images

    def infer(self, images: torch.Tensor) -> torch.Tensor:
        """See BuiltBackend."""
        if not self.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("TensorRT could not enqueue the inference (its reason is in the log)")
        return self.output

    def gpu_memory_mb(self) -> float | None:
        """Peak of torch's allocator, and the memory of the execution context, which TensorRT takes for itself."""
        own = getattr(self.engine, "device_memory_size_v2", None)  # TensorRT 10 and newer
        return (torch.cuda.max_memory_allocated() + (self.engine.device_memory_size if own is None else own)) / 1e6


def arrange(images: torch.Tensor, layout: str) -> torch.Tensor:
    """(n, c, h, w) in the memory layout that the engine was built for: nchw, nhwc, or nhwc8 with channels of zeros."""
    if layout == "nchw":
        return images
    if layout == "nhwc8":
        count, channels, *size = images.shape
        images = torch.cat([images, images.new_zeros(count, PADDED_CHANNELS - channels, *size)], dim=1)
    return images.contiguous(memory_format=torch.channels_last)


def find_tensors(engine: Any, trt: Any) -> tuple[str, str]:
    """Names of the one input and the one output. Raises UnsupportedJob for another kind of engine."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise UnsupportedJob(f"the engine has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
    return inputs[0], outputs[0]


def list_profiles(engine: Any, source: str) -> list[Profile]:
    """The engine's optimisation profiles, by the batch sizes of its input."""
    shapes = [engine.get_tensor_profile_shape(source, index) for index in range(engine.num_optimization_profiles)]
    return number_profiles([shape[0] for shape in limits] for limits in shapes)
