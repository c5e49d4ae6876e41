from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from analysis.__main__ import main
from analysis.study import Study
from analysis.to_tensorboard import write_events
from tests.analysis import synthetic


def options(dirs: dict[str, Path], *names: str) -> list[str]:
    return [part for name in names for part in (f"--{name}", str(dirs[name]))]


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a call that must leave with status 2."""
    try:
        status = main(list(arguments))
    except SystemExit as leaving:
        status = leaving.code
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert error.startswith("python -m analysis: error: ")
    return error


def test_report_writes_everything_and_prints_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = synthetic.make_rows(synthetic.CPU[3:5], (224,), (1, 8), count=5)
    folder = synthetic.write_run(tmp_path / "results" / "one", rows) / "report"
    arguments = ["report", "--results_dir", str(tmp_path / "results"), "--log_dir", str(tmp_path / "logs")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for name in ("summary.csv", "report.en.md", "report.ru.md"):
        assert str(folder / name) in printed
        assert (folder / name).is_file()
    assert "ONNX Runtime fp32" in printed
    assert len(pd.read_csv(folder / "summary.csv")) == 4
    text = (folder / "report.en.md").read_text(encoding="utf-8")
    linked = [part.split(")")[0] for part in text.split("](")[1:]]
    assert linked
    assert all((folder / name).is_file() for name in linked)
    assert (tmp_path / "logs" / "bench" / "one" / "report").is_dir()


def test_unknown_run_lists_the_known_ones(run_dirs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    error = failure(capsys, "report", "--run_id", "nope", *options(run_dirs, "results_dir"))
    assert "'nope'" in error
    assert "messy" in error


def test_no_runs_points_to_make_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "make bench" in failure(capsys, "figures", "--results_dir", str(tmp_path))


def test_corrupt_line_is_named_by_file_and_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = synthetic.write_run(tmp_path / "bad", synthetic.make_rows(synthetic.CPU[:1], (224,), (1,), count=3))
    path = folder / "rows.jsonl"
    path.write_text(path.read_text() + "{broken\n")
    assert f"{path}:2: " in failure(capsys, "report", "--results_dir", str(tmp_path))


def test_unknown_schema_version_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = synthetic.write_run(tmp_path / "old", synthetic.make_rows(synthetic.CPU[:1], (224,), (1,), count=3))
    path = folder / "rows.jsonl"
    path.write_text(path.read_text().replace('"schema_version":2', '"schema_version":99'))
    assert "99" in failure(capsys, "report", "--results_dir", str(tmp_path))


@pytest.mark.parametrize("limit", ["x", "-1%", "nan"])
def test_bad_limit_names_the_flag(limit: str, run_dirs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "messy", "messy", f"--max_slowdown={limit}", *options(run_dirs, "results_dir")]
    assert "--max_slowdown" in failure(capsys, *arguments)


def test_unknown_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--runid" in failure(capsys, "report", "--runid", "x")


def test_nothing_imports_torch() -> None:
    check = "print([name for name in ('torch', 'tensorflow') if name in sys.modules])"
    program = f"import sys, analysis.commands, analysis.compare\n{check}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_events_hold_the_summary_and_are_rewritten(study: Study, tmp_path: Path) -> None:
    report = tmp_path / "report"
    (report / "figures").mkdir(parents=True)
    png = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + (7).to_bytes(4, "big") + (5).to_bytes(4, "big")
    (report / "figures" / "a.png").write_bytes(png)
    (report / "report.en.md").write_text("# Title", encoding="utf-8")
    target = write_events(study, report, tmp_path / "logs")
    before = {path: path.read_bytes() for path in target.rglob("events*")}
    assert write_events(study, report, tmp_path / "logs") == target
    assert before == {path: path.read_bytes() for path in target.rglob("events*")}

    events = EventAccumulator(str(target / "pytorch-eager-fp32")).Reload()
    points = events.Tensors("fps_over_batch_size/224_px")
    lines = study.ranked.query("contender == 'pytorch/eager/fp32' and image_size == 224").sort_values("batch_size")
    assert [point.step for point in points] == lines["batch_size"].tolist()
    values = [float(tensor_util.make_ndarray(point.tensor_proto)) for point in points]
    assert values == pytest.approx(lines["fps"].tolist(), rel=1e-6)

    documents = EventAccumulator(str(target / "report")).Reload()
    assert tensor_util.make_ndarray(documents.Tensors("report_en")[0].tensor_proto).item() == b"# Title"
    image = tensor_util.make_ndarray(documents.Tensors("figures/a")[0].tensor_proto)
    assert list(image) == [b"7", b"5", png]


def test_machine_file_that_is_not_json_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = synthetic.write_run(tmp_path / "x", [synthetic.make_row(synthetic.CPU[0], 224, 1, count=3)])
    (folder / "machine.json").write_text(json.dumps([1]))
    assert "machine.json" in failure(capsys, "report", "--results_dir", str(tmp_path))


def test_the_command_that_starts_tensorboard_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = synthetic.make_rows(synthetic.CPU[:1], (224,), (1,), count=3)
    synthetic.write_run(tmp_path / "results" / "one", rows)
    logs = tmp_path / "my logs"
    assert main(["tensorboard", "--results_dir", str(tmp_path / "results"), "--log_dir", str(logs)]) == 0
    assert capsys.readouterr().out.startswith(f"TensorBoard: python -m tensorboard.main --logdir '{logs}'\n")


def test_ctrl_c_is_status_130_without_a_traceback(
    run_dirs: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.commands.judge", interrupt)
    assert main(["report", *options(run_dirs, "results_dir")]) == 130
    assert capsys.readouterr().err == "python -m analysis: interrupted\n"
