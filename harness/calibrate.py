"""Child process: what this machine's arithmetic and memory can do at best, by PyTorch. Started by `harness.ceilings`.

python -m harness.calibrate --device cuda --threads 8 --precisions fp32 tf32 fp16 --out ceilings.json
"""

from __future__ import annotations

import argparse
import atexit
import functools
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Hashable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T", bound=Hashable)

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.int8,
}
SIZES = {"cuda": (4096, 8192, 16384), "cpu": (1024, 2048, 4096)}
Shape = tuple[int, int, int]  # channels, side, images
# 3 x 3 convolutions as ResNets have them, on a CPU alone: its libraries may multiply matrices slower than they
# convolve. A GPU's do not, unless by Winograd's algorithm, which does fewer multiplications than are counted.
CONVOLUTIONS: dict[str, tuple[Shape, ...]] = {"cuda": (), "cpu": ((64, 56, 8), (256, 14, 16))}
# For one size at one precision; the warm-up takes a fifth more. A GPU under full load meets its power cap within some
# 0.1 s (0.25 s a size gave 686 TFLOP/s of fp16 on an H200, short loops 761 to 798), so it gets short bursts and rests.
CELL_S, REST_S = {"cuda": 0.05, "cpu": 0.4}, {"cuda": 0.2, "cpu": 0.0}
COPY_BYTES = {"cuda": 1 << 30, "cpu": 256 << 20}  # far more than a cache holds
MIN_REPETITIONS, MAX_REPETITIONS = 3, 200


def main() -> None:
    """Write the ceilings as JSON; the parent adds what it knows of the machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads.")
    parser.add_argument("--precisions", nargs="+", choices=tuple(DTYPES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="File to write; stdout belongs to the libraries.")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.write_text(json.dumps(measure(args.device, args.precisions)), encoding="utf-8")


def measure(device: str, precisions: list[str]) -> dict[str, Any]:
    """Ceilings of `device` and how they were measured; a precision that fails is named in `method`, with its error."""
    products: dict[str, tuple[int, float]] = {}
    convolutions: dict[str, tuple[Shape, float]] = {}
    failed = {}
    for precision in precisions:
        try:
            products[precision] = find_best(measure_matmuls(device, precision, SIZES[device], CELL_S[device]))
            if CONVOLUTIONS[device]:
                by_shape = measure_convolutions(precision, CONVOLUTIONS[device], CELL_S[device])
                convolutions[precision] = find_best(by_shape)
        except RuntimeError as error:  # torch's way to say that the card or the build lacks it, or that memory is short
            failed[precision] = str(error).partition("\n")[0]
    copy_bytes = limit_copy_bytes(device)
    return {
        "matmul_tflops": {precision: tflops for precision, (_, tflops) in products.items()},
        "convolution_tflops": {precision: tflops for precision, (_, tflops) in convolutions.items()},
        "copy_gb_per_s": measure_copy(device, copy_bytes, CELL_S[device]),
        "method": {
            **describe_method(device, copy_bytes),
            "best_size": {precision: size for precision, (size, _) in products.items()},
            "best_shape": {precision: shape for precision, (shape, _) in convolutions.items()},
            "failed": failed,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **({"cuda": torch.version.cuda} if device == "cuda" else {}),
        },
    }


def describe_method(device: str, copy_bytes: int) -> dict[str, Any]:
    """What is measured on `device`, and how."""
    convolution = "3 x 3, stride 1, channels last, random data; channels, side, images; timed as the products"
    return {
        "matmul": "square products of random data, median of the repetitions, best size; a burst after a short "
        "warm-up, not the steady state under a power cap",
        "matmul_sizes": list(SIZES[device]),
        **({"convolution": convolution, "convolution_shapes": CONVOLUTIONS[device]} if CONVOLUTIONS[device] else {}),
        "seconds_per_size": CELL_S[device],
        "rest_s": REST_S[device],
        "copy": "contiguous copy on the device, bytes read and written, median of the repetitions",
        "copy_bytes": copy_bytes,
        "clock": "cuda_events" if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def measure_matmuls(device: str, precision: str, sizes: tuple[int, ...], cell_s: float) -> dict[int, float]:
    """TFLOP/s (int8: TOP/s) of n x n x n products by n; a larger n that takes too long or too much memory is left out.

    Raises RuntimeError when torch cannot multiply in this precision here.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    if precision in ("tf32", "bf16") and device == "cuda" and torch.cuda.get_device_capability() < (8, 0):
        raise RuntimeError(f"no {precision} arithmetic on this GPU")
    found: dict[int, float] = {}
    for size in sizes:
        if found:
            last = max(found)
            expected_s = 2e-12 * size**3 / found[last]
            if expected_s * (MIN_REPETITIONS + 1) > 2 * cell_s:
                break
        try:
            found[size] = 2e-12 * size**3 / median_s(make_product(device, precision, size), device, cell_s)
        except torch.OutOfMemoryError:
            if not found:
                raise
            break
    return found


def make_product(device: str, precision: str, size: int) -> Callable[[], object]:
    """A product of two random matrices into a third; random, because zeros draw less power and run faster."""
    dtype = DTYPES[precision]
    if precision == "int8":
        left = torch.randint(-128, 128, (size, size), dtype=dtype, device=device)
        right = torch.randint(-128, 128, (size, size), dtype=dtype, device=device).t()  # the layout its kernels want
        return lambda: torch._int_mm(left, right)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def find_best(tflops: dict[T, float]) -> tuple[T, float]:
    """The key of the largest value, and the value."""
    return max(tflops.items(), key=lambda item: item[1])


def measure_convolutions(precision: str, shapes: tuple[Shape, ...], cell_s: float) -> dict[Shape, float]:
    """TFLOP/s of 3 x 3 convolutions on the CPU by shape, counted as `flops_per_image` is.

    Each output is nine multiply-accumulates a channel, also at the border. Channels last: nothing is rearranged then.
    """
    found: dict[Shape, float] = {}
    for channels, side, count in shapes:
        images = torch.randn(count, channels, side, side).to(DTYPES[precision], memory_format=torch.channels_last)
        kernels = torch.randn(channels, channels, 3, 3).to(DTYPES[precision], memory_format=torch.channels_last)
        convolve = functools.partial(torch.conv2d, images, kernels, padding=1)
        flops = 2 * 9 * count * (channels * side) ** 2
        found[channels, side, count] = 1e-12 * flops / median_s(convolve, "cpu", cell_s)
    return found


def measure_copy(device: str, copy_bytes: int, cell_s: float) -> float:
    """GB/s (10**9 bytes) read and written by a copy from one buffer of `copy_bytes` to another."""
    source = torch.randn(copy_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2e-9 * source.nbytes / median_s(lambda: target.copy_(source), device, cell_s)


def limit_copy_bytes(device: str) -> int:
    """What to copy: less on a small or busy GPU."""
    return min(COPY_BYTES[device], torch.cuda.mem_get_info()[0] // 4) if device == "cuda" else COPY_BYTES[device]


def median_s(run: Callable[[], object], device: str, cell_s: float) -> float:
    """Median time of one call, over about `cell_s` after a warm-up."""
    time_calls = time_calls_cuda if device == "cuda" else time_calls_cpu
    time_calls(run, 1)  # libraries load their kernels in the first call
    time.sleep(REST_S[device])
    estimate_s = time_calls(run, 1)[0]
    warm_s = statistics.median(time_calls(run, count_calls(cell_s / 5, estimate_s, 1)))
    return statistics.median(time_calls(run, count_calls(cell_s, warm_s, MIN_REPETITIONS)))


def count_calls(seconds: float, call_s: float, least: int) -> int:
    """How many calls fill `seconds`, within limits."""
    return max(least, min(MAX_REPETITIONS, round(seconds / call_s)))


def time_calls_cuda(run: Callable[[], object], count: int) -> list[float]:
    """Seconds between CUDA events around each call."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1000 for a, b in pairwise(events)]


def time_calls_cpu(run: Callable[[], object], count: int) -> list[float]:
    """Seconds of each call by the monotonic clock."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    atexit.register(gc.freeze)  # taking torch apart, which takes a second, is then left to the system
    main()
