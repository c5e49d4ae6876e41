from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.load import InputError, Run
from analysis.spread import find_spreads, render_spreads
from harness.schema import AGAIN, Row
from tests.analysis import synthetic

EAGER, ONNX = synthetic.CPU[0], synthetic.CPU[4]


def at(run_id: str, model: synthetic.Model, batch: int, ms: float, status: str = "ok", **changes: object) -> Row:
    changes |= {"samples": {"device_ms": [ms] * 10}, "status": status, "reason": "" if status == "ok" else "shaky"}
    return synthetic.make_row(model, 224, batch, run_id=run_id, **changes)  # type: ignore[arg-type]


def run_of(run_id: str, *rows: Row) -> Run:
    return Run(run_id, Path(run_id), list(rows))


def three_runs() -> list[Run]:
    """Batch 1 within 1%, batch 2 within 4%, ONNX Runtime unstable once."""
    again = replace(EAGER, variant="eager" + AGAIN)
    return [
        run_of(
            name, at(name, EAGER, 1, first), at(name, EAGER, 2, second), at(name, again, 1, 99.0),
            at(name, ONNX, 1, 5.0, status=status),
        )
        for name, first, second, status in (
            ("a", 10.0, 20.0, "ok"), ("b", 10.1, 20.8, "unstable"), ("c", 10.05, 20.0, "ok"),
        )
    ]  # fmt: skip


def test_spread_is_the_range_over_the_median() -> None:
    spreads = {(each.key.backend, each.key.batch_size): each for each in find_spreads(three_runs())}
    assert len(spreads) == 3, "the second measurement of the self-check is no cell"
    assert spreads["pytorch", 1].percent == pytest.approx(100 * 0.1 / 10.05)
    assert spreads["pytorch", 2].percent == pytest.approx(4.0)
    assert spreads["pytorch", 2].stable
    assert not spreads["onnx_runtime", 1].stable


def test_document_counts_stable_cells_and_names_the_others() -> None:
    text = render_spreads(find_spreads(three_runs()), ["a", "b", "c"], 0.02)
    assert "1 of 2\u00a0cells (50.0%) that are `ok` in every run lie within 2.0% of each other; 1 not `ok`" in text
    assert "| PyTorch eager fp32 | 2 | 2.50 | 3.70 | 4.00 |" in text
    assert "| 224 | 2 | PyTorch eager fp32 | 20.0000 | 20.8000 | 20.0000 | 4.00 | ok |" in text
    assert "| 224 | 1 | ONNX Runtime fp32 | 5.0000 | 5.0000 | 5.0000 | 0.00 | ok, unstable, ok |" in text


def test_a_cell_that_a_run_lacks_is_missing_there() -> None:
    runs = [run_of("a", at("a", EAGER, 1, 10.0)), run_of("b", at("b", ONNX, 1, 5.0))]
    text = render_spreads(find_spreads(runs), ["a", "b"], 0.02)
    assert "| 224 | 1 | PyTorch eager fp32 | 10.0000 | — | — | ok, missing |" in text
    assert "0 of 0\u00a0cells that are `ok` in every run" in text


def test_runs_of_another_processor_are_refused() -> None:
    other = run_of("b", at("b", EAGER, 1, 10.0, device="Other CPU"))
    with pytest.raises(InputError, match="runs: b is of Other CPU by cpu, a of Synthetic CPU by cpu"):
        find_spreads([run_of("a", at("a", EAGER, 1, 10.0)), other])


def test_command_takes_folders_and_names_and_writes_a_file(tmp_path: Path) -> None:
    for run in three_runs():
        synthetic.write_run(tmp_path / "results" / run.run_id, run.rows)
    output = tmp_path / "spread.md"
    names = ["a", str(tmp_path / "results" / "b"), "c"]
    options = ["--results_dir", str(tmp_path / "results"), "--limit", "5%", "--output", str(output)]
    assert main(["spread", *names, *options]) == 0
    text = output.read_text(encoding="utf-8")
    assert text.startswith("Runs: a, b, c. ")
    assert "2 of 2" in text


def test_a_folder_may_be_the_one_of_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in three_runs():
        synthetic.write_run(tmp_path / run.run_id, run.rows)
    (tmp_path / "b" / "report").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert main(["spread", ".", "../b", "../c"]) == 0
    assert capsys.readouterr().out.startswith("Runs: a, b, c. ")
    monkeypatch.chdir(tmp_path / "b" / "report")
    assert main(["spread", "..", "../../a"]) == 0
    assert capsys.readouterr().out.startswith("Runs: b, a. ")


def test_runs_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in three_runs():
        synthetic.write_run(tmp_path / run.run_id / "quick", run.rows)
    monkeypatch.chdir(tmp_path)
    assert main(["spread", "a/quick", "b/quick"]) == 0
    assert capsys.readouterr().out.startswith("Runs: a/quick, b/quick. ")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "runs: name two different runs or more"), (["a", "a"], "two different runs"), (["a", "x"], "run 'x' is")],
)
def test_bad_input_is_one_line(
    names: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = three_runs()[0]
    synthetic.write_run(tmp_path / "a", run.rows)
    assert main(["spread", *names, "--results_dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
