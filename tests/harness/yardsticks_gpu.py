"""How fast ResNet-18 can be on this GPU by code that shares nothing with the harness: the yardsticks of its rows.

    python tests/harness/yardsticks_gpu.py --weights_dir weights --output yardsticks.md

Each way of running is written out here as its library's documentation shows it, and timed by CUDA events back to back:
the median of 30 after a warm-up. Where the harness's row of the same way and batch size is slower by more than a few
per cent, the harness runs it badly; cuDNN's search may settle a little differently in each process.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from event_loop import time_ms

Run = Callable[[], object]
WARM_UPS, REPETITIONS = 5, 30
TUNED = {"prefer_nhwc": "1", "enable_cuda_graph": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}


def time_yardstick(run: Run) -> float:
    """Median ms after a warm-up."""
    for _ in range(WARM_UPS):
        run()
    return time_ms(run, REPETITIONS)


def write_table(output: Path, found: dict[str, dict[int, float]], machine: dict[str, str]) -> None:
    """`found`: contender -> batch size -> ms; all contenders have the same batch sizes. The numbers go beside it."""
    sizes = list(next(iter(found.values())))
    heads = " | ".join(f"batch {size}, ms" for size in sizes)
    lines = [f"| contender | {heads} |", f"|---|{'---:|' * len(sizes)}"]
    lines += [f"| {name} | {' | '.join(f'{ms:.4f}' for ms in times.values())} |" for name, times in found.items()]
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    output.with_suffix(".json").write_text(json.dumps({**machine, "ms": found}, indent=1) + "\n", encoding="utf-8")


def in_graph(run: Run) -> Run:
    """The same in a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def make_network(weights: Path) -> torch.nn.Module:
    """ResNet-18 of torchvision with the weights, in eval mode on the GPU."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network = torchvision.models.resnet18(num_classes=len(state["fc.bias"])).eval()
    network.load_state_dict(state)
    return network.cuda()


def eager(weights: Path, images: torch.Tensor, *, tf32: bool) -> Run:
    """fp32 as torch comes, NCHW, with or without TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    network = make_network(weights)
    return lambda: network(images)


def half(weights: Path, images: torch.Tensor, *, graph: bool) -> Run:
    """fp16, channels_last."""
    network = make_network(weights).half().to(memory_format=torch.channels_last)
    batch = images.half().contiguous(memory_format=torch.channels_last)
    run = lambda: network(batch)  # noqa: E731 - a named function would say no more
    return in_graph(run) if graph else run


def fused(weights: Path, images: torch.Tensor) -> Run:
    """BatchNorm folded into the convolutions, cuDNN's fused calls, in a CUDA graph; fp16, channels_last."""
    network = make_network(weights)
    convolve, convolve_add = torch.cudnn_convolution_relu, torch.cudnn_convolution_add_relu

    def fold(conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = (conv.weight * scale[:, None, None, None]).half().contiguous(memory_format=torch.channels_last)
        return weight, (norm.bias - norm.running_mean * scale).half()

    stem = fold(network.conv1, network.bn1)
    blocks = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            shortcut = fold(*block.downsample) if block.downsample else None
            first, second = fold(block.conv1, block.bn1), fold(block.conv2, block.bn2)
            blocks.append((first, second, shortcut, block.conv1.stride))
    head = network.fc.half()
    batch = images.half().contiguous(memory_format=torch.channels_last)
    one, none = (1, 1), (0, 0)

    def run() -> torch.Tensor:
        x = convolve(batch, *stem, (2, 2), (3, 3), one, 1)
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        for first, second, shortcut, stride in blocks:
            y = convolve(x, *first, stride, one, one, 1)
            kept = x if shortcut is None else torch.nn.functional.conv2d(x, *shortcut, stride, none)
            x = convolve_add(y, second[0], kept, 1.0, second[1], one, one, one, 1)
        return head(x.mean((2, 3)))

    return in_graph(run)


def compiled(weights: Path, images: torch.Tensor) -> Run:
    """torch.compile, mode reduce-overhead, weights frozen; fp16, channels_last."""
    import torch._inductor.config

    torch._inductor.config.freezing = True
    torch.compiler.reset()
    network = make_network(weights).half().to(memory_format=torch.channels_last)
    batch = images.half().contiguous(memory_format=torch.channels_last)
    run = torch.compile(network, mode="reduce-overhead")
    return lambda: run(batch)


def onnx_runtime(file: Path, images: torch.Tensor, options: dict[str, str]) -> Run:
    """ONNX Runtime's CUDA provider on torch's stream, input and output bound to device memory."""
    import numpy as np
    import onnxruntime

    onnxruntime.preload_dlls()
    settings = {**options, "user_compute_stream": str(torch.cuda.current_stream().cuda_stream)}
    session = onnxruntime.InferenceSession(file, providers=[("CUDAExecutionProvider", settings)])
    source, sink = session.get_inputs()[0], session.get_outputs()[0]
    types = {"tensor(float16)": (torch.float16, np.float16), "tensor(float)": (torch.float32, np.float32)}
    batch = images.to(types[source.type][0])
    output = torch.empty(len(images), sink.shape[1], dtype=types[sink.type][0], device="cuda")
    binding = session.io_binding()
    for bind, end, tensor in ((binding.bind_input, source, batch), (binding.bind_output, sink, output)):
        bind(end.name, "cuda", 0, types[end.type][1], tuple(tensor.shape), tensor.data_ptr())
    run_options = onnxruntime.RunOptions()
    run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    keep = (batch, output)  # the session knows their addresses only
    return lambda: (keep, session.run_with_iobinding(binding, run_options))


def list_ways(weights: Path, onnx: Path) -> dict[str, Callable[[torch.Tensor], Run]]:
    """Name of the harness's contender -> what makes the same thing for a batch."""
    fp16, fp32 = onnx.with_name(f"{onnx.name}_fp16.onnx"), onnx.with_name(f"{onnx.name}_fp32.onnx")
    return {
        "pytorch/eager/fp32": lambda images: eager(weights, images, tf32=False),
        "pytorch/eager/tf32": lambda images: eager(weights, images, tf32=True),
        "pytorch/channels_last/fp16": lambda images: half(weights, images, graph=False),
        "pytorch/graph/fp16": lambda images: half(weights, images, graph=True),
        "pytorch/fused/fp16": lambda images: fused(weights, images),
        "pytorch/compile/fp16": lambda images: compiled(weights, images),
        "onnx_runtime/default/fp16": lambda images: onnx_runtime(fp16, images, {}),
        "onnx_runtime/tuned/fp16": lambda images: onnx_runtime(fp16, images, TUNED),
        "onnx_runtime/tuned/tf32": lambda images: onnx_runtime(fp32, images, TUNED),
    }


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights_dir", type=Path, default=Path("weights"))
    parser.add_argument("--output", type=Path, required=True, help="Markdown file; the numbers go beside it as JSON.")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 256, 1024])
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    weights = args.weights_dir / f"best_resnet18_{args.image_size}.pth"
    ways = list_ways(weights, args.weights_dir / "onnx" / f"resnet18_{args.image_size}")
    found: dict[str, dict[int, float]] = {}
    stream = torch.cuda.Stream()  # not the default one, whose handle, 0, ONNX Runtime reads as none given
    with torch.inference_mode(), torch.cuda.stream(stream):
        for name, make in ways.items():
            found[name] = {}
            for size in args.batch_sizes:
                images = torch.randn(size, 3, args.image_size, args.image_size, device="cuda")
                run = make(images)
                found[name][size] = time_yardstick(run)
                del run
                torch.cuda.empty_cache()
            print(name, found[name], flush=True)
    write_table(args.output, found, {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__})


if __name__ == "__main__":
    main()
