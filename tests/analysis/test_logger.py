"""Experiment trackers through Lightning's loggers: CSV for real, the others by a stand-in without network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.study import Study
from analysis.to_logger import log_study


class Recorder:
    """A logger that remembers its calls."""

    def __init__(self, **options: Any) -> None:
        self.options, self.chosen, self.steps, self.ended = options, {}, {}, ""

    def log_hyperparams(self, chosen: dict) -> None:
        self.chosen = chosen

    def log_metrics(self, numbers: dict, step: int) -> None:
        self.steps[step] = numbers

    def save(self) -> None:
        assert self.steps

    def finalize(self, status: str) -> None:
        self.ended = status


def test_a_tracked_run_per_contender_with_batches_as_steps(study: Study) -> None:
    made: dict[str, Recorder] = {}
    assert log_study(study, lambda contender: made.setdefault(contender, Recorder())) == len(made)
    assert set(made) == set(study.ranked["contender"])
    line = study.ranked.query("contender == 'openvino/default/bf16' and image_size == 384 and batch_size == 4").iloc[0]
    logged = made["openvino/default/bf16"]
    assert logged.steps[4]["fps/384_px"] == line["fps"]
    assert (logged.chosen["backend"], logged.chosen["precision"]) == ("openvino", "bf16")
    assert logged.ended == "success"
    assert "speedup/384_px" not in made["openvino/default/bf16"].steps[8], "its baseline crashed"


@pytest.fixture
def fake_loggers(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Lightning's loggers, of which W&B's library is missing."""
    made: list[Recorder] = []

    def make(**options: Any) -> Recorder:
        made.append(Recorder(**options))
        return made[-1]

    def miss(**options: Any) -> None:
        raise ModuleNotFoundError("wandb")

    monkeypatch.setitem(sys.modules, "lightning", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "lightning.pytorch", SimpleNamespace())
    fake = SimpleNamespace(MLFlowLogger=make, WandbLogger=miss)
    monkeypatch.setitem(sys.modules, "lightning.pytorch.loggers", fake)
    sys.modules["lightning.pytorch"].loggers = fake  # type: ignore[attr-defined]
    return made


def arguments(dirs: dict[str, Path], to: str) -> list[str]:
    folders = [part for name in ("results_dir", "weights_dir", "log_dir") for part in (f"--{name}", str(dirs[name]))]
    return ["log", "--to", to, *folders]


def test_mlflow_gets_an_experiment_per_run(run_dirs: dict[str, Path], fake_loggers: list[Recorder]) -> None:
    assert main(arguments(run_dirs, "mlflow")) == 0
    assert {logger.options["experiment_name"] for logger in fake_loggers} == {"messy"}
    assert "pytorch/eager/fp32" in {logger.options["run_name"] for logger in fake_loggers}


@pytest.mark.parametrize(
    ("to", "expected"),
    [("wandb", "--to wandb: wandb is not installed: pip install wandb"), ("excel", "--to excel: is not one of csv")],
)
def test_what_is_missing_is_one_line(
    run_dirs: dict[str, Path], fake_loggers: list[Recorder], capsys: pytest.CaptureFixture[str], to: str, expected: str
) -> None:
    assert main(arguments(run_dirs, to)) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_lightnings_csv_logger_writes_the_numbers(run_dirs: dict[str, Path], study: Study, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    assert main(arguments({**run_dirs, "log_dir": tmp_path}, "csv")) == 0
    found = pd.read_csv(tmp_path / "messy" / "pytorch-eager-fp32" / "metrics.csv").set_index("step")
    line = study.ranked.query("contender == 'pytorch/eager/fp32' and image_size == 224 and batch_size == 8").iloc[0]
    assert found.loc[8, "fps/224_px"] == pytest.approx(line["fps"])
    assert (tmp_path / "messy" / "pytorch-eager-fp32" / "hparams.yaml").is_file()
