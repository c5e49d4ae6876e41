"""The harness's device_ms on a GPU against programs that share no code with it: a loop of CUDA events, and Triton's.

    python tests/harness/independent_gpu.py --weights_dir weights --output table.md

Back to back, an inference finds the end of the one before in the L2 cache (warm): so do the harness by default, the
loop and `triton.testing.do_bench_cudagraph`. `triton.testing.do_bench` clears the cache before each repetition (cold),
as the harness does with `--l2_flush true`. Each tool runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from harness.schema import read_rows  # noqa: E402 - found through the line above

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
LOOP = """
import json, statistics, sys
import torch, torchvision, triton.testing
weights, size = sys.argv[1], int(sys.argv[2])
cells = json.loads(sys.argv[3])
state = torch.load(weights, weights_only=True)
torch.backends.cudnn.benchmark = True
answers = []
def with_events(step, count=50):
    stream = torch.cuda.current_stream()
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    for _ in range(10): step()
    torch.cuda.synchronize()
    step()
    for a, b in pairs:
        a.record(stream); step(); b.record(stream)
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairs)
for variant, precision, batch in cells:
    tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    dtype = torch.float16 if precision == "fp16" else torch.float32
    layout = torch.contiguous_format if variant == "eager" else torch.channels_last
    model = torchvision.models.resnet18(num_classes=len(state["fc.bias"])).eval()
    model.load_state_dict(state)
    model = model.to("cuda", dtype, memory_format=layout)
    images = torch.randn(batch, 3, size, size, device="cuda", dtype=dtype).contiguous(memory_format=layout)
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        step = lambda: model(images)
        for _ in range(5): step()
        if variant == "graph":
            graph = torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph): model(images)
            step = graph.replay
        answer = {"loop": with_events(step), "do_bench": triton.testing.do_bench(step, return_mode="median")}
        if variant == "graph":
            whole = lambda: model(images)
            answer["do_bench_cudagraph"] = triton.testing.do_bench_cudagraph(whole, return_mode="median")
    answers.append(answer)
    del model, images
    torch.cuda.empty_cache()
print(json.dumps(answers))
"""


def time_with_harness(weights_dir: Path, image_size: int, *, l2_flush: bool) -> dict[tuple[str, str, int], float]:
    """Median device_ms of every cell, in one run."""
    contenders = dict.fromkeys(f"pytorch/{variant}/{precision}" for variant, precision, _ in CELLS)
    only = [f"pytorch/{variant}/{precision}:{image_size}:{batch}" for variant, precision, batch in CELLS]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "harness", "--device", "cuda", "--weights_dir", weights_dir.resolve(),
            "--results_dir", folder, "--run_id", "run", "--backends", f"[{','.join(contenders)}]",
            "--image_sizes", f"[{image_size}]", "--batch_sizes", json.dumps(sorted({cell[-1] for cell in CELLS})),
            "--only", f"[{','.join(map(json.dumps, only))}]", "--order", "variant", "--calibrate", "false",
            "--self_check", "false", "--l2_flush", str(l2_flush).lower(), "--min_samples", "50",
        ]  # fmt: skip
        subprocess.run([str(word) for word in command], cwd=ROOT, check=True, stdout=sys.stderr)
        rows = list(read_rows((Path(folder) / "run" / "rows.jsonl").read_text(encoding="utf-8")))
    for row in rows:
        if not row.samples:
            raise RuntimeError(f"{row.job}: {row.status}: {row.reason}")
    medians = [statistics.median(row.samples["device_ms"]) for row in rows]
    jobs = [row.job for row in rows]
    return {(job.variant, job.precision, job.batch_size): ms for job, ms in zip(jobs, medians, strict=True)}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights_dir", type=Path, default=Path("weights"))
    parser.add_argument("--output", type=Path, required=True, help="Markdown file; the numbers go beside it as JSON.")
    parser.add_argument("--image_size", type=int, default=224)
    args = parser.parse_args()
    warm = time_with_harness(args.weights_dir, args.image_size, l2_flush=False)
    cold = time_with_harness(args.weights_dir, args.image_size, l2_flush=True)
    weights = (args.weights_dir / f"best_resnet18_{args.image_size}.pth").resolve()
    command = [sys.executable, "-c", LOOP, str(weights), str(args.image_size), json.dumps(CELLS)]
    others = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    head = ["cell", "harness, warm", "event loop, warm", "do_bench_cudagraph, warm", "harness, cold", "do_bench, cold"]
    lines = ["| " + " | ".join(head) + " |", "|---|---:|---:|---:|---:|---:|"]
    record = []
    for cell, other in zip(CELLS, others, strict=True):
        times = {"warm": warm[cell], "cold": cold[cell], **other}
        record.append({"variant": cell[0], "precision": cell[1], "batch_size": cell[2], "ms": times})
        graph = other.get("do_bench_cudagraph")
        columns = [
            f"pytorch/{cell[0]}/{cell[1]}, batch {cell[2]}",
            f"{warm[cell]:.4f} ms",
            f"{other['loop']:.4f} ms ({other['loop'] / warm[cell]:.3f})",
            f"{graph:.4f} ms ({graph / warm[cell]:.3f})" if graph else "",
            f"{cold[cell]:.4f} ms",
            f"{other['do_bench']:.4f} ms ({other['do_bench'] / cold[cell]:.3f})",
        ]
        lines.append("| " + " | ".join(columns) + " |")
        print(lines[-1], flush=True)
    args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
