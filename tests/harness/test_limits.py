"""A crash that a tensor of too many elements accounts for says so."""

import json

from harness.limits import explain_crash
from harness.schema import read_rows

STEM_384 = {"name": "conv1", "output_elements": 64 * 192 * 192}  # of ResNet-18 at 384 px
POOL_384 = {"name": "maxpool", "output_elements": 64 * 96 * 96}


def test_the_limit_is_where_tensorrt_says_it_is():
    """On an H200, 8.6: `tensor volume exceeds (2^31)-1 [...] Condition '<' violated: 1024 >= 911`."""
    layers = [POOL_384, STEM_384]
    assert explain_crash("refused", layers, 910) == "refused"
    said = explain_crash("refused", layers, 911)
    assert "conv1 would hold 2,149,318,656 elements" in said
    assert said.endswith("stop at batch 910. refused")
    assert explain_crash("refused", [], 10**9) == "refused"


def test_a_row_says_so(run_harness, weights_dir, tmp_path):
    """Batch 1 has its row, and batch 2 the reason of its crash with the cause before it."""
    manifest = weights_dir / "reference" / "resnet18_8.json"
    layers = [{"name": "conv1", "output_elements": 2**30}]
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "layers": layers}))
    code, _, err = run_harness("--backends", "[faulty/raise]", "--batch_sizes", "[1,2]", "--run_id", "run")
    assert code == 0, err
    rows = list(read_rows((tmp_path / "results/run/rows.jsonl").read_text()))
    assert [row.status.replace("unstable", "ok") for row in rows] == ["ok", "crashed"]
    assert rows[1].reason.startswith("the output of conv1 would hold 2,147,483,648 elements")
