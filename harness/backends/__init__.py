"""The table of backends: a new one is a file beside this and a line here. Nothing is imported here."""

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """Where a backend's class lives, and the variants it offers; the first is its default.

    `slow_to_build`: variants that compile for seconds, on one core; several may do so side by side
    (`Backend.build`, `parallel_builds`). To each what tells its compilations apart: batch sizes with the same answer
    are served by one.
    """

    target: str
    variants: tuple[str, ...]
    slow_to_build: Mapping[str, Callable[[int], Hashable]] = {}


BACKENDS = {
    "pytorch": Entry(
        "harness.backends.pytorch:PyTorchBackend",
        ("eager", "channels_last", "graph", "compile", "compile_dynamic", "fused"),
        slow_to_build={"compile": lambda batch_size: batch_size, "compile_dynamic": lambda batch_size: batch_size > 1},
    ),
    "onnx_runtime": Entry("harness.backends.onnx_runtime:OnnxRuntimeBackend", ("default", "tuned", "tensorrt")),
    "torch_trt": Entry(
        "harness.backends.torch_trt:TorchTrtBackend", ("dynamo", "dynamo_graph", "torchscript", "torchscript_graph")
    ),
    "tensorrt_engine": Entry("harness.backends.tensorrt_engine:TensorRtEngineBackend", ("default", "graph")),
    "openvino": Entry("harness.backends.openvino:OpenVinoBackend", ("default",)),
}


def family(backend: str) -> str:
    """The table's name of a backend that a contender may call `name@label`, to race two environments of it."""
    return backend.partition("@")[0]
