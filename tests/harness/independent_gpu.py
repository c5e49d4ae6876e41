"""The harness's device_ms on a GPU against programs that share no code with it: a loop of CUDA events, and Triton's.

    python tests/harness/independent_gpu.py --weights_dir weights --output table.md

All of them time the same network in the same process, as cuDNN's search may settle on other algorithms in the next one
(two CUDA graphs of one network, captured in two processes, differed by 5% on an H200). They take turns; each one's
number is the median over its turns. `triton.testing.do_bench_cudagraph` cannot capture a graph's replay, so it captures
the network anew.

Back to back, an inference finds in the L2 cache what the one before left there (warm): so do the harness by default,
the loop and `do_bench_cudagraph`. `triton.testing.do_bench` clears the cache before each repetition (cold), as the
harness does with `--l2_flush true`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton.testing
from event_loop import time_ms

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from harness.backends.base import Spec  # noqa: E402 - found through the line above
from harness.backends.pytorch import PyTorchBackend  # noqa: E402
from harness.clocks import Clock, make_clock  # noqa: E402
from harness.commands import make_stop_rule  # noqa: E402
from harness.config import BenchConfig  # noqa: E402
from harness.measure import StopRule, sample  # noqa: E402

CELLS = [  # variant, precision, batch size
    ("eager", "fp32", 1),
    ("eager", "fp32", 64),
    ("eager", "fp32", 1024),
    ("eager", "tf32", 256),
    ("channels_last", "fp16", 32),
    ("channels_last", "fp16", 128),
    ("channels_last", "fp16", 1024),
    ("graph", "fp16", 1),
    ("graph", "fp16", 16),
    ("graph", "fp16", 256),
]
COLUMNS = ["harness, warm", "event loop, warm", "do_bench_cudagraph, warm", "harness, cold", "do_bench, cold"]
AGAINST = {COLUMNS[1]: COLUMNS[0], COLUMNS[2]: COLUMNS[0], COLUMNS[4]: COLUMNS[3]}
LEAST, MOST, LOOP_MS = 10, 50, 500.0  # repetitions of the loop, and about how long they may take


def time_with_events(run: Callable[[], object]) -> float:
    """Median ms of repetitions back to back; as many as fit into LOOP_MS by the first few."""
    return time_ms(run, max(LEAST, min(MOST, int(LOOP_MS / time_ms(run, 3)))))


def time_with_triton(function: Callable[..., Any], run: Callable[[], object]) -> float:
    """Median ms; Triton decides how often."""
    return float(function(run, return_mode="median"))


def time_with_harness(clock: Clock, run: Callable[[], None], batch_size: int, rule: StopRule) -> float:
    """Median device_ms of what the harness would sample for this job."""
    return statistics.median(sample(clock, run, batch_size, rule).device_ms)


def load(weights: Path, variant: str, precision: str, batch_size: int, image_size: int) -> PyTorchBackend:
    """The harness's own backend, with a batch bound: what is compared is the timing."""
    classes = len(torch.load(weights, map_location="cpu", weights_only=True)["fc.bias"])
    backend = PyTorchBackend()
    backend.load(
        Spec(variant, precision, image_size, "cuda", torch.get_num_threads(), "resnet18", classes, weights, None)
    )
    noise = np.random.default_rng(0).standard_normal((batch_size, 3, image_size, image_size), dtype=np.float32)
    backend.bind(noise)
    return backend


@torch.inference_mode()
def time_cell(backend: PyTorchBackend, clocks: dict[str, Clock], rule: StopRule, turns: int) -> dict[str, float]:
    """Median ms over the turns, by column."""
    images = backend.bound.images
    harness = {
        name: (lambda clock=clock: time_with_harness(clock, backend.run, len(images), rule))
        for name, clock in clocks.items()
    }
    tools: dict[str, Callable[[], float]] = {
        COLUMNS[0]: harness["warm"],
        COLUMNS[1]: lambda: time_with_events(backend.run),
        COLUMNS[3]: harness["cold"],
        COLUMNS[4]: lambda: time_with_triton(triton.testing.do_bench, backend.run),
    }
    if backend.spec.variant == "graph":
        tools[COLUMNS[2]] = lambda: time_with_triton(triton.testing.do_bench_cudagraph, lambda: backend.network(images))
    times: dict[str, list[float]] = {name: [] for name in COLUMNS if name in tools}
    for _ in range(turns):
        for name, turns_ms in times.items():
            turns_ms.append(tools[name]())
    return {name: statistics.median(turns_ms) for name, turns_ms in times.items()}


def show(cell: tuple[str, str, int], times: dict[str, float]) -> str:
    """A row of the table: ms, and in brackets the ratio to the harness's of the same cache state."""
    texts = [f"pytorch/{cell[0]}/{cell[1]}, batch {cell[2]}"]
    for name in COLUMNS:
        own = times[AGAINST[name]] if name in AGAINST and name in times else None
        ratio = f" ({times[name] / own:.3f})" if own else ""
        texts.append(f"{times[name]:.4f} ms{ratio}" if name in times else "")
    return f"| {' | '.join(texts)} |"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights_dir", type=Path, default=Path("weights"))
    parser.add_argument("--output", type=Path, required=True, help="Markdown file; the numbers go beside it as JSON.")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    clocks = {"cold": make_clock("cuda", l2_flush=True), "warm": make_clock("cuda")}
    rule = make_stop_rule(BenchConfig(min_samples=LEAST, min_seconds=0.1, max_seconds=1.0))
    weights = args.weights_dir / f"best_resnet18_{args.image_size}.pth"
    lines = [f"| cell | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    record = []
    for cell in CELLS:
        backend = load(weights, *cell, args.image_size)
        times = time_cell(backend, clocks, rule, args.turns)
        backend.drop()
        record.append({"variant": cell[0], "precision": cell[1], "batch_size": cell[2], "ms": times})
        lines.append(show(cell, times))
        print(lines[-1], flush=True)
    machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "triton": triton.__version__}
    args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    args.output.with_suffix(".json").write_text(
        json.dumps({**machine, "cells": record}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
