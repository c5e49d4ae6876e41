"""The studies in the repository are what their rows give today, byte for byte."""

from __future__ import annotations

import re
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
NAMES = sorted(path.parent.name for path in STUDIES.glob("*/report"))
AGAIN = "python -m analysis report --results_dir docs/results --run_id {0} --weights_dir docs/results/{0}/weights"


@pytest.fixture(scope="module", params=NAMES)
def committed(request: pytest.FixtureRequest) -> Study:
    return judge(load_run(STUDIES, request.param, STUDIES / request.param / "weights"))


def test_a_cpu_and_a_gpu_are_among_them() -> None:
    assert len(NAMES) >= 2
    assert "nvidia-h200" in NAMES


@pytest.mark.parametrize("language", ["en", "ru"])
def test_rows_give_the_committed_report(committed: Study, language: str) -> None:
    report = committed.run.folder / "report"
    drawn = [name for name in FIGURES if (report / "figures" / f"{name}.svg").is_file()]
    text = render(gather_facts(committed, drawn), language)
    again = AGAIN.format(committed.run.run_id)
    assert not re.search(r"[^\s|]- \*\*|^ \S", text, re.MULTILINE), "each item on a line of its own"
    assert text == (report / f"report.{language}.md").read_text(encoding="utf-8"), again
    page = (report / f"report.{language}.html").read_text(encoding="utf-8")
    assert build_page(text, language, report) == page, again


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rows_give_every_committed_file(tmp_path: Path, name: str) -> None:
    """Figures, tables and reports, by the command that a reader would run."""
    study = STUDIES / name
    shutil.copytree(study, tmp_path / name)
    shutil.rmtree(tmp_path / name / "report")
    where = ["--results_dir", str(tmp_path), "--run_id", name]
    assert main(["report", *where, "--weights_dir", str(study / "weights"), "--log_dir", str(tmp_path / "logs")]) == 0
    files = sorted(path.relative_to(study) for path in (study / "report").rglob("*") if path.is_file())
    assert [path for path in files if (tmp_path / name / path).read_bytes() != (study / path).read_bytes()] == []
