"""Rows whose decision is known, and what is decided from them."""

from __future__ import annotations

from pathlib import Path

from analysis.decision.choice import Decision, decide
from analysis.decision.needs import Needs
from analysis.load import load_run
from analysis.study import Study, judge
from harness.schema import Row
from tests.analysis import synthetic
from tests.analysis.synthetic import Model

EAGER = Model("pytorch", "eager", "fp32", 4.0, 16.0)
FAST = Model("onnx_runtime", "default", "fp32", 1.0, 8.0)
FASTER = Model("openvino", "default", "int8", 1.0, 4.0)
TWIN = Model("onnx_runtime", "tuned", "fp32", 1.0, 8.0)


def study_of(tmp_path: Path, rows: list[Row], accuracies: dict[int, float] | None = None) -> Study:
    synthetic.write_run(tmp_path / "results" / "synthetic", rows)
    weights = synthetic.write_weights(tmp_path / "weights", accuracies) if accuracies else None
    return judge(load_run(tmp_path / "results", "synthetic", weights))


def rows_of(*models: Model, batches: tuple[int, ...] = (1, 8), **changes: object) -> list[Row]:
    return synthetic.make_rows(models, (224,), batches, count=30, **changes)


def decided(tmp_path: Path, rows: list[Row], accuracies: dict[int, float] | None = None, **needs: object) -> Decision:
    return decide(study_of(tmp_path, rows, accuracies), Needs(**needs))  # type: ignore[arg-type]
