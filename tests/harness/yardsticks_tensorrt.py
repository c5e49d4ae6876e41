"""How fast ResNet-18 can be with TensorRT on this GPU, by code that shares nothing with export and harness.

    .venv-tensorrt/bin/python tests/harness/yardsticks_tensorrt.py --weights weights/best_resnet18_224.pth \
        --fp16 opset17.onnx --int8 weights/onnx/resnet18_224_int8_tensorrt.onnx --output yardsticks.md

Torch-TensorRT 2.2 and TensorRT 8.6 as their documentation shows them: the TorchScript path with one dynamic profile,
and engines from ONNX files of opset 17 (fp32, for fp16 kernels; Q-DQ, for INT8). Timed as yardsticks_gpu.py times
PyTorch: the median of 30 back to back after a warm-up. That is over before a card feels its power limit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import tensorrt
import torch
import torch_tensorrt
from yardsticks_gpu import Run, in_graph, make_network, time_yardstick, write_table

PROFILES = [(1, 1, 1), (1, 256, 1024)]
SHAPE = (3, 224, 224)


def compile_torchscript(weights: Path) -> Callable[[torch.Tensor], Run]:
    """Torch-TensorRT's TorchScript path in fp16: one engine for batches 1 to 1024."""
    network = make_network(weights).half()
    traced = torch.jit.trace(network, torch.zeros(8, *SHAPE, dtype=torch.half, device="cuda"))
    smallest, best, largest = ((batch, *SHAPE) for batch in PROFILES[1])
    source = torch_tensorrt.Input(min_shape=smallest, opt_shape=best, max_shape=largest, dtype=torch.half)
    module = torch_tensorrt.compile(traced, ir="ts", inputs=[source], enabled_precisions={torch.half})
    return lambda images: lambda: module(images)


def build_engine(onnx: Path, flags: list[str], level: int) -> Callable[[torch.Tensor], Run]:
    """A TensorRT engine with fp16 input and output, in a CUDA graph for each batch."""
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    if not tensorrt.OnnxParser(network, logger).parse(onnx.read_bytes()):
        raise SystemExit(f"TensorRT does not parse {onnx}")
    config = builder.create_builder_config()
    config.builder_optimization_level = level
    for flag in flags:
        config.set_flag(getattr(tensorrt.BuilderFlag, flag))
    source, sink = network.get_input(0), network.get_output(0)
    source.dtype = sink.dtype = tensorrt.DataType.HALF
    for limits in PROFILES:
        profile = builder.create_optimization_profile()
        profile.set_shape(source.name, *((batch, *SHAPE) for batch in limits))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    classes = engine.get_tensor_shape(sink.name)[1]

    def bind(images: torch.Tensor) -> Run:
        stream = torch.cuda.current_stream()
        context.set_optimization_profile_async(0 if len(images) == 1 else 1, stream.cuda_stream)
        stream.synchronize()
        logits = torch.empty(len(images), classes, dtype=torch.half, device="cuda")
        context.set_input_shape(source.name, tuple(images.shape))
        context.set_tensor_address(source.name, images.data_ptr())
        context.set_tensor_address(sink.name, logits.data_ptr())
        replay = in_graph(lambda: context.execute_async_v3(torch.cuda.current_stream().cuda_stream))
        keep = (engine, context, images, logits)  # the graph knows their addresses only
        return lambda: (keep, replay())

    return bind


def main() -> None:
    """Build and time everything; write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--fp16", type=Path, required=True, help="fp32 ONNX file of opset 17.")
    parser.add_argument("--int8", type=Path, required=True, help="Q-DQ ONNX file of opset 17.")
    parser.add_argument("--output", type=Path, required=True, help="Markdown file; the numbers go beside it as JSON.")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 256, 1024])
    args = parser.parse_args()
    ways = {
        "tensorrt_engine/graph/int8": lambda: build_engine(args.int8, ["FP16", "INT8"], 2),
        "torch_trt/torchscript/fp16": lambda: compile_torchscript(args.weights),
        "tensorrt_engine/graph/fp16": lambda: build_engine(args.fp16, ["FP16"], 3),
    }
    found: dict[str, dict[int, float]] = {}
    for name, build in ways.items():
        bind, found[name] = build(), {}
        with torch.inference_mode():
            for size in args.batch_sizes:
                run = bind(torch.randn(size, *SHAPE, dtype=torch.half, device="cuda"))
                found[name][size] = time_yardstick(run)
        print(name, found[name], flush=True)
    machine = {"gpu": torch.cuda.get_device_name(), "tensorrt": tensorrt.__version__, "torch": torch.__version__}
    write_table(args.output, found, machine)


if __name__ == "__main__":
    main()
