"""`python -m analysis recommend` from its flags to its exit status, its rerun file and its confirmation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from analysis.__main__ import main
from harness.config import BenchConfig
from harness.plan import plan_groups
from harness.schema import Row
from tests.analysis import synthetic
from tests.analysis.synthetic import Model

EAGER = Model("pytorch", "eager", "fp32", 4.0, 16.0)
FAST = Model("onnx_runtime", "default", "fp32", 1.0, 8.0)
SLOWER = Model("openvino", "default", "fp32", 1.0, 9.0)
CELLS = [
    "onnx_runtime/default/fp32:224:8",
    "openvino/default/fp32:224:8",
    "pytorch/eager/fp32:224:8",
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = synthetic.make_rows((EAGER, FAST, SLOWER), (224,), (1, 8), count=30, run_id="first")
    synthetic.write_run(tmp_path / "results" / "first", rows)
    return tmp_path / "results"


def recommend(results: Path, *arguments: str, run_id: str = "first") -> int:
    weights = str(results.parent / "weights")
    return main(["recommend", "--results_dir", str(results), "--run_id", run_id, "--weights_dir", weights, *arguments])


def rerun(results: Path, *, factors: dict[str, float] | None = None, batches: tuple[int, ...] = (8,)) -> None:
    """What the harness leaves when it runs recommendation.yaml; `factors` scale the times of a backend."""
    rows: list[Row] = [
        synthetic.make_row(model, 224, batch, round_=number, run_id="again", seed=2,
                           factor=(factors or {}).get(model.backend, 1.0))
        for number in range(1, 6) for model in (EAGER, FAST, SLOWER) for batch in batches
    ]  # fmt: skip
    synthetic.write_run(results / "again", rows)


def test_the_answer_is_printed_and_its_rerun_plans_exactly_three_cells(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is a config that the harness itself accepts: winner, runner-up and baseline, several rounds."""
    assert recommend(results, "--max_host_ms", "200") == 0
    printed = capsys.readouterr().out
    assert "Deploy ONNX Runtime fp32 at 224 px, batch 8" in printed
    assert "Margin over the runner-up, fps: 1.1" in printed
    path = results / "first" / "report" / "recommendation.yaml"
    assert str(path) in printed
    config = BenchConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
    jobs = [job for group in plan_groups(config, config.image_sizes) for job in group.jobs]
    assert Counter(f"{job.contender}:{job.image_size}:{job.batch_size}" for job in jobs) == dict.fromkeys(CELLS, 5)
    assert (config.min_seconds, config.max_seconds) == (1.0, 20.0)  # the run's own settings


def test_the_command_to_confirm_names_its_folders_where_they_are_not_the_harness_own(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word to be pasted into a shell; a folder of training records alone has no weights to time."""
    records = synthetic.write_weights(results.parent / "weights", {224: 0.9})
    assert recommend(results) == 0
    config = results / "first" / "report" / "recommendation.yaml"
    head = f"To confirm: python -m harness --config {config} --run_id first-again --results_dir {results}"
    assert capsys.readouterr().out.splitlines()[-1] == head
    (records / "best_resnet18_224.pth").touch()
    assert recommend(results) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{head} --weights_dir {records}"


def test_the_command_to_confirm_is_short_and_quoted(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.write_weights(results.parent / "weights", {224: 0.9})
    (results.parent / "weights" / "best_resnet18_224.pth").touch()
    (results / "first").rename(results / "my run")
    monkeypatch.chdir(results.parent)
    assert main(["recommend"]) == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    words = "--config 'results/my run/report/recommendation.yaml' --run_id 'my run-again'"
    assert printed == f"To confirm: python -m harness {words}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "6 cells, 6 meet the needs.\n"),
        (["--batch_sizes", "[8]", "--backends", "[pytorch]"], "6 cells, 1 meets the needs. The others:\n"),
    ],
)
def test_the_others_are_announced_where_there_are_any(
    results: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert recommend(results, *arguments) == 0
    assert sentence in capsys.readouterr().out.replace("\u00a0", " ")


def test_one_cell_is_not_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write_run(tmp_path / "results" / "first", [synthetic.make_row(EAGER, 224, 1, count=30)])
    assert recommend(tmp_path / "results") == 0
    assert "1 cell, 1 meets the needs.\n" in capsys.readouterr().out.replace("\u00a0", " ")


def test_a_run_cannot_confirm_itself(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recommend(results, "--confirm", "first") == 2
    error = capsys.readouterr().err
    assert error == (
        "python -m analysis: error: --confirm first: is the run of the answer; name a run of its recommendation.yaml\n"
    )


def test_a_rerun_that_repeats_confirms(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rerun(results)
    assert recommend(results, "--confirm", "again") == 0
    assert "Run again confirms this answer." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("factors", "broken"),
    [
        ({"onnx_runtime": 1.3}, "NO   the order holds"),
        ({"openvino": 0.93}, "NO   the margin repeats"),
        ({"onnx_runtime": 1.08, "openvino": 1.08}, "NO   fps of the winner repeats"),
    ],
)
def test_a_rerun_that_differs_does_not_confirm_and_says_in_what(
    results: Path, capsys: pytest.CaptureFixture[str], factors: dict[str, float], broken: str
) -> None:
    rerun(results, factors=factors)
    assert recommend(results, "--confirm", "again") == 1
    printed = capsys.readouterr().out
    assert broken in printed
    assert "does not confirm" in printed


def test_a_rerun_that_misses_a_need_does_not_confirm(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """65.9 ms a call at first, under 66.2; 2% more in the rerun."""
    rerun(results, factors=dict.fromkeys(("onnx_runtime", "openvino", "pytorch"), 1.01), batches=(1, 8))
    limit = synthetic.latency_ms(FAST, 224, 8) * 1.02 * 1.012
    assert recommend(results, "--max_host_ms", f"{limit:.2f}", "--confirm", "again") == 1
    assert "NO   the winner still meets the needs: --max_host_ms is missed" in capsys.readouterr().out


def test_a_rerun_in_which_the_winner_crashed_does_not_confirm(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [synthetic.make_row(SLOWER, 224, 8, run_id="again"), synthetic.make_row(EAGER, 224, 8, run_id="again")]
    rows.append(synthetic.failed_row(FAST, 224, 8, "crashed", "exit code 139", run_id="again"))
    synthetic.write_run(results / "again", rows)
    assert recommend(results, "--confirm", "again") == 1
    assert "NO   onnx_runtime/default/fp32 runs again: crashed: exit code 139" in capsys.readouterr().out


def test_a_rerun_of_other_cells_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rerun(results, batches=(1,))
    assert recommend(results, "--confirm", "again") == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "python -m analysis: error: --confirm again: ONNX Runtime fp32 at 224 px, batch 8: not in B"
    )


def test_confirming_needs_the_run_of_the_answer(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--results_dir", str(results), "--confirm", "first"]) == 2
    assert "--run_id" in capsys.readouterr().err


def test_contradictory_needs_exit_with_1_and_say_what_to_relax(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend(results, "--max_host_ms", "5", "--min_fps", "100") == 1
    printed = capsys.readouterr().out
    assert "No configuration meets these needs." in printed
    assert "--max_host_ms 5 -> 9." in printed
    assert "lets in ONNX Runtime fp32 at 224 px, batch 1" in printed
    assert not (results / "first" / "report" / "recommendation.yaml").exists()


def test_a_bad_need_is_one_line_with_status_2(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recommend(results, "--min_accuracy", "90") == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m analysis: error: --min_accuracy 90")
    assert error.count("\n") == 1
