"""The study in the repository is what its rows give today, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.facts import gather_facts
from analysis.figures.draw import FIGURES
from analysis.html_page import build_page
from analysis.load import load_run
from analysis.report import render
from analysis.study import Study, judge

STUDIES = Path(__file__).parents[2] / "docs" / "results"
STUDY = STUDIES / "xeon-2core"
AGAIN = "python -m analysis report --results_dir docs/results --run_id xeon-2core --weights_dir .../xeon-2core/weights"


@pytest.fixture(scope="module")
def committed() -> Study:
    return judge(load_run(STUDIES, STUDY.name, STUDY / "weights"))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_rows_give_the_committed_report(committed: Study, language: str) -> None:
    report = STUDY / "report"
    drawn = [name for name in FIGURES if (report / "figures" / f"{name}.svg").is_file()]
    text = render(gather_facts(committed, drawn), language)
    assert text == (report / f"report.{language}.md").read_text(encoding="utf-8"), AGAIN
    page = (report / f"report.{language}.html").read_text(encoding="utf-8")
    assert build_page(text, language, report) == page, AGAIN


@pytest.mark.slow
def test_rows_give_every_committed_file(tmp_path: Path) -> None:
    """Figures, tables and reports, by the command that a reader would run."""
    shutil.copytree(STUDY, tmp_path / "xeon-2core")
    shutil.rmtree(tmp_path / "xeon-2core" / "report")
    where = ["--results_dir", str(tmp_path), "--run_id", "xeon-2core"]
    assert main(["report", *where, "--weights_dir", str(STUDY / "weights"), "--log_dir", str(tmp_path / "logs")]) == 0
    files = sorted(path.relative_to(STUDY) for path in (STUDY / "report").rglob("*") if path.is_file())
    assert [
        name for name in files if (tmp_path / "xeon-2core" / name).read_bytes() != (STUDY / name).read_bytes()
    ] == []
