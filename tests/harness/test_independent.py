"""The harness against a loop that shares no code with it."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from harness.schema import read_rows

LOOP = """
import json, sys, time, torch, torchvision
weights, threads, batch, size, count = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
model = torchvision.models.resnet18(num_classes=10).eval()
model.load_state_dict(torch.load(weights, weights_only=True))
images = torch.randn(batch, 3, size, size)
times = []
with torch.inference_mode():
    for _ in range(count):
        start = time.perf_counter()
        model(images)
        times.append(1000 * (time.perf_counter() - start))
print(json.dumps(times[count // 3:]))
"""


@pytest.mark.slow
def test_an_independent_loop_measures_the_same(bare, tmp_path):
    """A loop of a dozen lines that shares no code with the harness: medians within 5%.

    Other processes on the machine disturb both at different moments, so up to five attempts are made.
    """
    assert bare.export("--to", "reference") == 0
    loop = [sys.executable, "-c", LOOP, str(bare.weights), "2", "8", "64", "60"]
    ratios = []
    for attempt in range(5):
        command = [
            sys.executable, "-m", "harness", "--device", "cpu", "--weights_dir", bare.weights_dir,
            "--results_dir", tmp_path, "--run_id", f"r{attempt}", "--backends", "[pytorch]", "--batch_sizes", "[8]",
            "--min_samples", "40", "--threads", "2", "--self_check", "false", "--max_seconds", "3",
        ]  # fmt: skip
        subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=120)
        row = next(read_rows((tmp_path / f"r{attempt}" / "rows.jsonl").read_text()))
        times = json.loads(subprocess.run(loop, capture_output=True, text=True, check=True, timeout=120).stdout)
        ratios.append(np.median(row.samples["device_ms"]) / np.median(times))
        if 0.95 <= ratios[-1] <= 1.05:
            return
        time.sleep(2)
    pytest.fail(f"harness over independent loop: {ratios}")
