"""The harness against programs that share no code with it: hand-written loops, OpenVINO's benchmark_app, timm's script.

    python tests/harness/independent.py --weights_dir weights --output table.md

Every tool runs in a fresh process on the same weights, image size, batch and threads, with the allocator settings of
the harness (docs/decisions/allocator.md); one loop runs without them too. The loops run on the images of the harness,
as noise takes longer; benchmark_app makes its own. The tools take turns, so that a machine that becomes slower or
faster does so for all; each one's number is the median over its turns. `--timm_benchmark` names a copy of benchmark.py
of https://github.com/huggingface/pytorch-image-models (needs timm), which is no package.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from harness.schema import read_rows  # noqa: E402 - found through the line above

IMAGES = """
import sys
import numpy as np
def read_images(reference, batch):
    known = np.load(reference)
    pixels = known["images"][:batch].astype(np.float32) / 255
    return np.ascontiguousarray((pixels - known["mean"][:, None, None]) / known["std"][:, None, None])
"""
PREAMBLE = """
import json, time
path, reference, threads, batch, seconds = *sys.argv[1:3], *map(int, sys.argv[3:])
images = read_images(reference, batch)
def report(step):
    for _ in range(5): step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps(sorted(times)[len(times) // 2]))
"""
TIMM_ON_IMAGES = """
import runpy, torch
_, reference, *sys.argv = sys.argv
torch.randn = lambda shape, **_: torch.from_numpy(read_images(reference, shape[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LOOPS = {
    "pytorch": """
import torch, torchvision
torch.set_num_threads(threads)
state = torch.load(path, weights_only=True)
model = torchvision.models.resnet18(num_classes=len(state["fc.bias"])).eval()
model.load_state_dict(state)
tensor = torch.from_numpy(images)
with torch.inference_mode(): report(lambda: model(tensor))
""",
    "onnx_runtime": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
report(lambda: session.run(None, {name: images}))
""",
    "openvino": """
import openvino
core = openvino.Core()
model = core.read_model(path)
model.reshape(list(images.shape))
hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
request = core.compile_model(model, "CPU", hints).create_infer_request()
request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
report(request.infer)
""",
}


@dataclass(frozen=True)
class Bench:
    """What every tool is given."""

    weights_dir: Path
    image_size: int
    batch_size: int
    threads: int
    seconds: int

    @property
    def reference(self) -> Path:
        """The images that the harness runs on."""
        return self.weights_dir / "reference" / f"resnet18_{self.image_size}.npz"

    def model_path(self, backend: str) -> Path:
        """The file a backend runs."""
        if backend == "pytorch":
            return self.weights_dir / f"best_resnet18_{self.image_size}.pth"
        return self.weights_dir / "onnx" / f"resnet18_{self.image_size}_fp32.onnx"


def run(command: list[object], threads: int, *, keep_memory: bool = True) -> str:
    """Standard output of a command, run from the repository with the environment that workers get."""
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    if keep_memory:
        environment.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 40))
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: exit status {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def time_with_harness(backend: str, bench: Bench) -> float:
    """Median host_ms of the harness's row."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "harness", "--device", "cpu", "--weights_dir", bench.weights_dir.resolve(),
            "--results_dir", folder, "--run_id", "run", "--backends", f"[{backend}]", "--calibrate", "false",
            "--image_sizes", f"[{bench.image_size}]", "--batch_sizes", f"[{bench.batch_size}]",
            "--threads", bench.threads, "--self_check", "false", "--reference_images", bench.batch_size,
            "--min_seconds", bench.seconds, "--max_seconds", 2 * bench.seconds,
        ]  # fmt: skip
        run(command, bench.threads)
        row = next(read_rows((Path(folder) / "run" / "rows.jsonl").read_text(encoding="utf-8")))
    return statistics.median(row.boundary("host_ms"))


def time_with_loop(backend: str, bench: Bench, *, keep_memory: bool = True) -> float:
    """Median of a loop of perf_counter around one call."""
    paths = [bench.model_path(backend).resolve(), bench.reference.resolve()]
    numbers = [bench.threads, bench.batch_size, bench.seconds]
    command = [sys.executable, "-c", IMAGES + PREAMBLE + LOOPS[backend], *paths, *numbers]
    return float(run(command, bench.threads, keep_memory=keep_memory))


def time_with_benchmark_app(bench: Bench) -> float:
    """Median latency of OpenVINO's own tool."""
    shape = f"[{bench.batch_size},3,{bench.image_size},{bench.image_size}]"
    command = [
        Path(sys.executable).with_name("benchmark_app"), "-m", bench.model_path("openvino").resolve(), "-d", "CPU",
        "-hint", "latency", "-infer_precision", "CPU:f32", "-api", "sync", "-shape", shape, "-t", bench.seconds,
    ]  # fmt: skip
    found = re.search(r"Median:\s+([\d.]+) ms", run(command, bench.threads))
    if found is None:
        raise RuntimeError("benchmark_app printed no median")
    return float(found.group(1))


def time_with_timm(script: Path, bench: Bench, *, noise: bool) -> float:
    """Mean step time of timm's benchmark script, on timm's own resnet18; its images are noise, or the harness's."""
    program = [script] if noise else ["-c", IMAGES + TIMM_ON_IMAGES, bench.reference.resolve(), script]
    command = [
        sys.executable, *program, "--model", "resnet18", "--batch-size", bench.batch_size,
        "--img-size", bench.image_size,
        "--num-classes", 10, "--device", "cpu",
    ]  # fmt: skip
    found = re.search(r'"step_time":\s*([\d.]+)', run(command, bench.threads))
    if found is None:
        raise RuntimeError(f"{script} printed no step_time")
    return float(found.group(1))


HARNESS, LOOP = "harness, median host_ms", "hand-written loop, median"


def list_tools(backend: str, bench: Bench, timm: Path | None) -> dict[str, Callable[[], float]]:
    """Name of a tool -> a call that runs it once and answers in ms."""
    tools: dict[str, Callable[[], float]] = {
        HARNESS: lambda: time_with_harness(backend, bench),
        LOOP: lambda: time_with_loop(backend, bench),
    }
    if backend == "openvino":
        tools["benchmark_app, median"] = lambda: time_with_benchmark_app(bench)
    if backend == "pytorch":
        tools[f"{LOOP}, allocator's defaults"] = lambda: time_with_loop(backend, bench, keep_memory=False)
    if backend == "pytorch" and timm:
        tools["timm benchmark.py, mean step time"] = lambda: time_with_timm(timm, bench, noise=False)
        tools["timm benchmark.py, mean step time, on noise"] = lambda: time_with_timm(timm, bench, noise=True)
    return tools


def compare(tools: dict[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Times in ms of each tool, one per turn; every second turn goes backwards."""
    times: dict[str, list[float]] = {name: [] for name in tools}
    for turn in range(turns):
        for name, measure in list(tools.items())[:: 1 if turn % 2 == 0 else -1]:
            times[name].append(measure())
    return times


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights_dir", type=Path, default=Path("weights"))
    parser.add_argument("--output", type=Path, required=True, help="Markdown file; the raw times go beside it as JSON.")
    parser.add_argument("--timm_benchmark", type=Path)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--backends", nargs="+", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=4, help="Sampling time of each tool and turn.")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    lines = ["| backend | batch | tool | ms | over the harness | turns, ms |", "|---|---:|---|---:|---:|---|"]
    record = []
    for backend in args.backends:
        for batch in args.batch_sizes:
            bench = Bench(args.weights_dir, args.image_size, batch, args.threads, args.seconds)
            times = compare(list_tools(backend, bench, args.timm_benchmark), args.turns)
            own = statistics.median(times[HARNESS])
            for name, values in times.items():
                median = statistics.median(values)
                turns = ", ".join(f"{value:.2f}" for value in values)
                lines.append(f"| {backend} | {batch} | {name} | {median:.2f} | {median / own:.3f} | {turns} |")
                print(lines[-1], flush=True)
                record.append({"backend": backend, "batch_size": batch, "tool": name, "turns_ms": values})
    args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
