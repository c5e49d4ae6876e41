"""How long a run of many rows takes from load to report, and how much memory: docs/decisions/scale.md.

    python -m tests.analysis.scale --rows 100000

Makes a synthetic run of a GPU study, then runs `python -m analysis report` on it as a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import numpy as np
import psutil

from tests.analysis import synthetic

ROOT = Path(__file__).resolve().parents[2]
POWERS = [1 << power for power in range(13)]
SAMPLES = (10, 300)  # device_ms samples of a row, log-uniform: few where one takes long, as the stop rule leaves them


def make_lines(rows: int, rounds: int) -> Iterator[str]:
    """Lines of rows.jsonl: every contender and size of synthetic.STUDY, and as many batch sizes as it takes."""
    rng = np.random.default_rng(7)
    sizes = synthetic.STUDY_SIZES
    count = -(-rows // (rounds * len(synthetic.STUDY) * len(sizes)))
    batches = POWERS[:count] if count <= len(POWERS) else range(1, count + 1)
    templates: dict[tuple[object, int, int], dict] = {}
    for round_, model, size, batch in islice(product(range(1, rounds + 1), synthetic.STUDY, sizes, batches), rows):
        key = (model, size, batch)
        if key not in templates:
            telemetry = synthetic.gpu_telemetry(model, size, batch)
            row = synthetic.make_row(
                model, size, batch, count=3, device="NVIDIA H200", clock="cuda_events", telemetry=telemetry,
                executed={"graph": False, "dtype": "float16", "memory_format": "channels_last", "tf32": False},
                options={"threads": 16, "l2_flush": False, "environment": {"OMP_NUM_THREADS": "16"}},
            )  # fmt: skip
            templates[key] = json.loads(row.to_json())
        line = templates[key]
        count = int(np.exp(rng.uniform(*np.log(SAMPLES))))
        mean = synthetic.latency_ms(model, size, batch) * (1 + 0.005 * rng.standard_normal())
        times = mean * (1 + model.noise * (rng.standard_normal(count) + rng.exponential(0.5, count)))
        few = (times[: max(3, count // 4)] * 1.02).round(5).tolist()
        fps = (batch * 1000 / times[:5]).tolist()
        line["job"]["round"] = round_
        samples = {"device_ms": times.round(5).tolist(), "transfer_ms": few, "host_ms": few, "throughput_fps": fps}
        line["samples"], line["warmup_ms"] = samples, few
        yield json.dumps(line, separators=(",", ":")) + "\n"


def write_run(folder: Path, rows: int, rounds: int) -> Path:
    """The run's folder, and the path of its rows."""
    first = synthetic.make_row(synthetic.STUDY[0], 224, 1, device="NVIDIA H200", clock="cuda_events")
    synthetic.write_run(folder, [first])
    synthetic.write_gpu_facts(folder)
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(make_lines(rows, rounds))
    return path


def watch_memory_mb(process: psutil.Popen) -> float:
    """Wait for a process; answers the highest sum of resident memory of it and its children, MB, a look each 0.1 s."""
    peak = 0.0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(each.memory_info().rss for each in family) / 1e6)
        time.sleep(0.1)
    return peak


def main() -> int:
    """Print size of the rows, wall clock and peak resident memory of the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=102, help="fewer rounds: more cells (batch sizes)")
    parser.add_argument("--folder", type=Path, help="where the run is made and kept; left out: a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        run = folder / "results" / "scale"
        path = run / "rows.jsonl" if run.exists() else write_run(run, args.rows, args.rounds)
        print(f"{args.rows} rows, {args.rounds} rounds: rows.jsonl {path.stat().st_size / 1e6:.0f} MB", flush=True)
        arguments = ["report", "--results_dir", folder / "results", "--log_dir", folder / "logs"]
        command = [sys.executable, "-m", "analysis", *map(str, arguments)]
        start = time.perf_counter()
        process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        peak_mb = watch_memory_mb(process)
        wall_s = time.perf_counter() - start
        size_mb = sum(file.stat().st_size for file in (run / "report").rglob("*") if file.is_file()) / 1e6
        print(f"report: {wall_s:.1f} s, peak {peak_mb:.0f} MB resident; its files {size_mb:.0f} MB")
    return int(process.returncode)


if __name__ == "__main__":
    sys.exit(main())
