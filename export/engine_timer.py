"""How long an engine takes for each batch size, and what it answers. Runs in the builder's process.

Python 3.10, NumPy, torch (which holds the device memory) and TensorRT. For a search among engines: each inference is a
replay of a CUDA graph over images that stay on the device, between CUDA events; the harness measures what is published.
"""

from __future__ import annotations

import importlib
import itertools
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DEVICE = "cuda"
DTYPES = {"FLOAT": "float32", "HALF": "float16"}  # by the name of TensorRT's
PADDED_CHANNELS = 8  # of the layout nhwc8
WARM_RUNS = 3  # a capture must not contain what a first run does: choosing, loading, taking workspace
WINDOW_MS = 50.0  # about this long without waiting for the device
MAX_WINDOW = 1000  # inferences
WARM_UP_SHARE = 0.5  # of the time for samples: clocks settle under power and heat


class Captured(NamedTuple):
    """A CUDA graph of one inference of `images`, which fills `logits`; both stay on the device while it lives."""

    graph: Any
    images: Any
    logits: Any


def time_engine(
    *, engine: str, images: str, out: str, batch_sizes: list[int], seconds: float, input_layout: str = "nchw"
) -> dict[str, Any]:
    """Samples for each batch size, in milliseconds per inference, measured for `seconds` each.

    `images`: a file of normalised float32 images (n, 3, size, size), repeated to fill a batch: zeros would draw less
    power, and run faster. `input_layout`: as the engine was built. Writes the logits of the first n images of every
    batch, after the last timed inference, to `out` (.npz, one array per batch size). Raises RuntimeError when TensorRT
    cannot load or run the engine.
    """
    torch, trt = importlib.import_module("torch"), importlib.import_module("tensorrt")
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    loaded = runtime.deserialize_cuda_engine(Path(engine).read_bytes())
    context = loaded.create_execution_context() if loaded else None
    if context is None:
        raise RuntimeError("TensorRT could not load the engine (its reasons are in the log)")
    array = np.load(images)
    samples_ms, answers = {}, {}
    for batch_size in batch_sizes:
        captured = capture(torch, trt, context, np.resize(array, (batch_size, *array.shape[1:])), input_layout)
        collect_samples(torch, captured.graph, seconds * WARM_UP_SHARE)
        samples_ms[str(batch_size)] = collect_samples(torch, captured.graph, seconds)
        answers[str(batch_size)] = captured.logits.cpu().numpy()[: len(array)].astype(np.float32)
        del captured
        torch.cuda.empty_cache()
    with Path(out).open("wb") as file:
        np.savez(file, **answers)
    return {"samples_ms": samples_ms}


def capture(torch: Any, trt: Any, context: Any, images: np.ndarray[Any, Any], input_layout: str) -> Captured:
    """One inference of `images`, float32 and NCHW here, on an engine with one input, one output and one profile."""
    engine = context.engine
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    names.sort(key=lambda name: engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT)
    source, sink = names
    in_dtype, out_dtype = (DTYPES[engine.get_tensor_dtype(name).name] for name in names)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        batch = torch.from_numpy(arrange(images.astype(in_dtype), input_layout)).to(DEVICE)
        context.set_optimization_profile_async(0, stream.cuda_stream)
        if not context.set_input_shape(source, images.shape):
            raise RuntimeError(f"the engine does not take images of shape {images.shape}")
        logits = torch.empty(tuple(context.get_tensor_shape(sink)), dtype=getattr(torch, out_dtype), device=DEVICE)
        context.set_tensor_address(source, batch.data_ptr())
        context.set_tensor_address(sink, logits.data_ptr())
        for _ in range(WARM_RUNS):
            enqueue(context, stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        enqueue(context, stream)
    return Captured(graph, batch, logits)


def arrange(images: np.ndarray[Any, Any], input_layout: str) -> np.ndarray[Any, Any]:
    """(n, c, h, w) as it must lie in memory: see `export.tensorrt_builder.build`."""
    if input_layout == "nchw":
        return images
    pixels = images.transpose(0, 2, 3, 1)
    missing = PADDED_CHANNELS - pixels.shape[3] if input_layout == "nhwc8" else 0
    return np.ascontiguousarray(np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, missing))))


def enqueue(context: Any, stream: Any) -> None:
    """One inference. Raises RuntimeError."""
    if not context.execute_async_v3(stream.cuda_stream):
        raise RuntimeError("TensorRT could not enqueue the inference (its reasons are in the log)")


def collect_samples(torch: Any, graph: Any, seconds: float) -> list[float]:
    """Milliseconds of each replay, back to back, for `seconds` or a little longer.

    Each window starts with a replay that is not timed: on an idle device the first event would be stamped before the
    host has launched anything.
    """
    samples: list[float] = []
    count, end = 1, time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        graph.replay()
        events[0].record()
        for event in events[1:]:
            graph.replay()
            event.record()
        torch.cuda.synchronize()
        window = [before.elapsed_time(after) for before, after in itertools.pairwise(events)]
        samples += window
        count = max(1, min(MAX_WINDOW, int(WINDOW_MS * count / max(sum(window), 1e-3))))
    return samples
