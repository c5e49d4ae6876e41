from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.compare import compare_cells, compare_runs
from analysis.load import Run
from tests.analysis import synthetic

EAGER = synthetic.CPU[0]
MACHINE = {"device": "Synthetic CPU"}


def run_of(run_id: str, machine: dict | None = None, **changes: object) -> Run:
    rows = synthetic.make_rows((EAGER,), (224,), (1, 4), run_id=run_id, **changes)
    return Run(run_id, Path(run_id), rows, machine=MACHINE if machine is None else machine)


def test_a_run_against_its_like_is_a_tie_in_at_least_95_of_100() -> None:
    verdicts = []
    for seed in range(50):
        a, b = run_of("a", seed=2 * seed, count=30), run_of("b", seed=2 * seed + 1, count=30)
        verdicts += [cell.verdict for cell in compare_cells(a, b, 0.03)]
    assert verdicts.count("tie") >= 95


def test_seven_percent_slower_is_a_regression_beyond_three(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run_of("a"), run_of("b", factor=1.07)
    assert compare_runs(a, b, 0.03) == 1
    assert "2 slower by more than 3.0%" in capsys.readouterr().out.replace("\u00a0", " ")


def test_three_rounds_show_two_percent_that_one_round_cannot() -> None:
    """In one round a process that happens to be slow looks the same."""
    one = compare_cells(run_of("a"), run_of("b", factor=1.02), 0.0)
    three = compare_cells(run_of("a", rounds=3), run_of("b", rounds=3, factor=1.02), 0.0)
    assert {cell.verdict for cell in one} == {"tie"}
    assert {cell.verdict for cell in three} == {"slower"}


def test_four_percent_slower_is_seen_and_let_pass(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run_of("a"), run_of("b", factor=1.04)
    assert {cell.verdict for cell in compare_cells(a, b, 0.03)} == {"slower"}
    assert compare_runs(a, b, 0.03) == 0
    assert "slower" in capsys.readouterr().out


def test_a_slowdown_that_may_be_within_the_limit_is_no_regression() -> None:
    cells = compare_cells(run_of("a", count=15), run_of("b", factor=1.03, count=15), 0.03)
    assert all(cell.interval[0] < 1.03 < cell.interval[1] for cell in cells)
    assert not any(cell.regression for cell in cells)


def test_faster_is_no_regression() -> None:
    cells = compare_cells(run_of("a"), run_of("b", factor=0.9), 0.0)
    assert [(cell.verdict, cell.regression) for cell in cells] == [("faster", False)] * 2
    assert all(cell.ratio == pytest.approx(0.9, abs=0.01) for cell in cells)


@pytest.mark.parametrize(
    ("b", "reason"),
    [
        (run_of("b", machine={"device": "Other CPU"}, factor=2.0), "machine: Synthetic CPU against Other CPU"),
        (run_of("b", arch="resnet50", factor=2.0), "network: resnet18 against resnet50"),
        (run_of("b", clock="cuda_events", factor=2.0), "clock: cpu against cuda_events"),
        (run_of("b", weights_sha256="cd" * 32, factor=2.0), "weights: abababababab against cdcdcdcdcdcd"),
    ],
)
def test_what_cannot_be_compared_is_not(b: Run, reason: str) -> None:
    for cell in compare_cells(run_of("a"), b, 0.03):
        assert (cell.verdict, cell.reason, cell.regression) == ("not comparable", reason, False)


def test_another_precision_is_named() -> None:
    b = Run("b", Path("b"), synthetic.make_rows((replace(EAGER, precision="bf16"),), (224,), (1,)), machine=MACHINE)
    cells = {cell.key.precision: cell for cell in compare_cells(run_of("a"), b, 0.03) if cell.key.batch_size == 1}
    assert cells["fp32"].reason == "precision: B has bf16"


def test_a_failed_cell_is_not_comparable_and_says_why() -> None:
    b = Run("b", Path("b"), [synthetic.failed_row(EAGER, 224, 1, "oom", "16 GB short", run_id="b")], machine=MACHINE)
    assert compare_cells(run_of("a"), b, 0.03)[0].reason == "oom in B: 16 GB short"


def test_runs_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        synthetic.write_run(tmp_path / name / "quick", run_of("quick").rows)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "old/quick", "new/quick"]) == 0
    assert "Time in new/quick over time in old/quick" in capsys.readouterr().out
    assert main(["compare", "quick", "old/quick", "--results_dir", "new"]) == 0
    assert "Time in old/quick over time in new/quick" in capsys.readouterr().out
