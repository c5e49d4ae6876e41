"""Torch-TensorRT: a compiled module that `python -m export --to torch_trt` saved, loaded again and run in torch."""

from __future__ import annotations

import io
from typing import Any

import torch

from harness.backends import cuda
from harness.backends.built import BuiltBackend
from harness.backends.engine_files import describe_build
from harness.backends.engine_profiles import choose_profile, number_profiles
from harness.backends.inspector import count_layers, read_layers
from harness.backends.torch_trt_graph import Contents, read_exported_program, read_torchscript

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16}


class TorchTrtBackend(BuiltBackend):
    """`dynamo` and `torchscript` name the front end that compiled; `..._graph` runs the result in a CUDA graph."""

    library, name, offered = "torch_tensorrt", "torch_trt", tuple(DTYPES)

    def drop(self) -> None:
        """See BuiltBackend."""
        self.module: Any = None

    def read(self, library: Any, content: bytes) -> dict[str, Any]:
        """See BuiltBackend."""
        self.module, contents = load_module(content, self.manifest["form"])
        self.versions = {
            "torch_tensorrt": library.__version__,
            "tensorrt": self.manifest["tensorrt"],
            "torch": torch.__version__,
            "cuda": str(torch.version.cuda),
        }
        layers = [layer for engine in contents.engines for layer in read_layers(engine.get_engine_layer_info())]
        evidence = {**contents.count(), **count_layers(layers), **describe_build(self.manifest)}
        return {"form": self.manifest["form"], **evidence}

    def place(self, batch: torch.Tensor) -> torch.Tensor:
        """See BuiltBackend."""
        profiles = self.manifest["profiles"]
        ranges = number_profiles([low, 0, high] for low, _, high in profiles)  # the file chooses by these alone
        self.evidence["profile"] = profiles[choose_profile(ranges, len(batch)).number]
        return batch.to(cuda.DEVICE, DTYPES[self.spec.precision])

    def infer(self, images: torch.Tensor) -> torch.Tensor:
        """See BuiltBackend."""
        return self.module(images)

    def gpu_memory_mb(self) -> float | None:
        """Peak of torch's allocator, which holds neither the engine's weights nor its workspace."""
        return torch.cuda.max_memory_allocated() / 1e6


def load_module(content: bytes, form: str) -> tuple[Any, Contents]:
    """The callable and what its graph holds. `form`: how the export saved it."""
    if form == "torchscript":
        module = torch.jit.load(io.BytesIO(content)).eval()
        return module, read_torchscript(module)
    program = torch.export.load(io.BytesIO(content)).module()
    return program, read_exported_program(program)
