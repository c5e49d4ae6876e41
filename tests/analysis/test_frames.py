"""Rows as tables: the documented snippet, the documented columns, and files that other tools read."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest

from analysis.__main__ import main
from analysis.frames import make_rows_frame, make_samples_frame
from analysis.load import load_frames
from harness.schema import Row
from tests.analysis import synthetic

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def rows() -> list[Row]:
    measured = synthetic.make_rows(synthetic.CPU[:2], (224,), (1, 8), count=5)
    absent = synthetic.failed_row(synthetic.CPU[4], 224, 1, "unavailable", 'not here, "really"\nnot')
    return [*measured, absent]


def test_the_documented_snippet_runs_and_answers(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """Three lines, word for word from the document, on the committed rows."""
    snippet = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert snippet
    assert len([line for line in snippet[1].splitlines() if line]) == 3
    monkeypatch.chdir(ROOT)
    exec(compile(snippet[1], "docs/data.md", "exec"), {})
    assert "onnx_runtime" in capsys.readouterr().out


def test_the_folder_of_the_shell_is_a_run(rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(synthetic.write_run(tmp_path / "one", rows))
    assert len(load_frames(".")[0]) == len(rows)


def test_every_column_is_documented(rows: list[Row]) -> None:
    named = set(re.findall(r"`(\w+)`", DOCUMENT))
    columns = {*make_rows_frame(rows).columns, *make_samples_frame(rows).columns}
    assert {name for name in columns if not name.startswith("telemetry_")} <= named


def test_samples_are_the_rows_own_in_their_order(rows: list[Row]) -> None:
    frame = make_samples_frame(rows)
    for number, row in enumerate(rows):
        for series in ("device_ms", "host_ms", "throughput_fps", "warmup_ms"):
            expected = row.warmup_ms if series == "warmup_ms" else row.samples.get(series, [])
            part = frame[(frame["row"] == number) & (frame["series"] == series)]
            assert part["value"].tolist() == expected
            assert part["sample"].tolist() == list(range(len(expected)))
            assert set(part["batch_size"]) <= {row.job.batch_size}


def test_a_run_of_failures_alone_has_the_same_columns(rows: list[Row]) -> None:
    full, failed = make_rows_frame(rows), make_rows_frame(rows[-1:])
    shared = [name for name in full if not name.startswith("telemetry_")]
    assert full[shared].dtypes.to_dict() == failed[shared].dtypes.to_dict()
    empty = make_samples_frame(rows[-1:])
    assert list(empty.columns) == list(make_samples_frame(rows).columns)
    assert make_samples_frame([]).empty


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_hold_what_the_tables_hold(rows: list[Row], tmp_path: Path, kind: str) -> None:
    """Read back by Arrow and by pandas; the reason with a quote and a line end survives."""
    synthetic.write_run(tmp_path / "r" / "one", rows)
    assert main(["export", "--results_dir", str(tmp_path / "r"), "--format", kind, "--output", str(tmp_path)]) == 0
    read = {"parquet": lambda path: pyarrow.parquet.read_table(path).to_pandas(), "csv": pd.read_csv}[kind]
    found, samples = read(tmp_path / f"rows.{kind}"), read(tmp_path / f"samples.{kind}")
    frame, long = load_frames(tmp_path / "r" / "one")
    assert found["reason"].fillna("").tolist() == frame["reason"].fillna("").tolist()
    assert found["build_ms"].tolist() == frame["build_ms"].tolist()
    assert samples["value"].tolist() == long["value"].tolist()
    assert not list(tmp_path.glob("*.part"))


def test_an_unknown_format_is_one_line(rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write_run(tmp_path / "one", rows)
    assert main(["export", "--results_dir", str(tmp_path), "--format", "xlsx"]) == 2
    error = capsys.readouterr().err
    assert "--format xlsx: is not one of parquet, csv" in error
    assert error.count("\n") == 1
