"""One realistic run on disk, judged once for the whole package."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.load import load_run
from analysis.study import Study, judge
from tests.analysis import synthetic


def _messy_rows() -> list:
    """Two sizes, three batches; one baseline cell crashed, one contender unstable, one wrong, one not here."""
    rows = synthetic.make_rows(synthetic.CPU, (224, 384), (1, 4, 8), count=40)
    crashed = synthetic.failed_row(synthetic.CPU[0], 384, 8, "crashed", "exit code 139")
    shaky = synthetic.make_row(synthetic.CPU[6], 224, 1, status="unstable", reason="interval 0.9% wider than 0.5%")
    rows = [{crashed.job: crashed, shaky.job: shaky}.get(row.job, row) for row in rows]
    wrong = synthetic.Model("onnx_runtime", "default", "int8", 0.1, 0.1)
    rows.append(synthetic.make_row(wrong, 224, 1, status="failed_parity", reason="top-1 agreement 0.71 below 0.95"))
    absent = synthetic.Model("torch_trt", "default", "fp16", 1.0, 1.0)
    rows.append(synthetic.failed_row(absent, 224, 1, "unavailable", "needs an NVIDIA GPU"))
    return rows


@pytest.fixture(scope="session")
def run_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("analysis")
    synthetic.write_run(root / "results" / "messy", _messy_rows(), audit=synthetic.AUDIT)
    synthetic.write_weights(root / "weights", {224: 0.90, 384: 0.905})
    return {"results_dir": root / "results", "weights_dir": root / "weights", "log_dir": root / "logs"}


@pytest.fixture(scope="session")
def study(run_dirs: dict[str, Path]) -> Study:
    return judge(load_run(run_dirs["results_dir"], "messy", run_dirs["weights_dir"]))
