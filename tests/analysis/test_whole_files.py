"""A full disk: the file is named, nothing half-written stays, and what was there before does."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from analysis.__main__ import main
from analysis.figures.draw import save
from analysis.whole_files import write_text
from tests.analysis import synthetic

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")


def fill(path: Path) -> Path:
    """Let `path` exist, and whatever replaces it be written to a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("before")
    path.with_name(path.name + ".part").symlink_to(FULL)
    return path


def complaint(path: Path) -> str:
    return f"{path}: cannot be written: No space left on device; make room or access for it, and call this again"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    synthetic.write_run(tmp_path / "r" / "one", synthetic.make_rows(synthetic.CPU[:1], (224,), (1,), count=3))
    return tmp_path / "r"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("export --format csv", "tables/samples.csv"),
        ("export", "tables/rows.parquet"),
        ("report", "report/columns.md"),
        ("recommend", "report/recommendation.yaml"),
    ],
)
def test_a_full_disk_is_one_line_that_names_the_file(
    results: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    path = fill(results / "one" / name)
    assert main([*command.split(), "--results_dir", str(results)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"python -m analysis: error: {path}: cannot be written: ")
    assert "No space left on device" in error
    assert error.count("\n") == 1
    assert path.read_text() == "before"
    assert not list(results.rglob("*.part"))


def test_a_figure_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = fill(tmp_path / "a.svg")
    with pytest.raises(ValueError, match=complaint(path)):
        save(Figure(), tmp_path / "a")
    assert path.read_text() == "before"
    assert not list(tmp_path.glob("*.part"))


def test_events_that_cannot_be_written_leave_the_earlier_ones(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["tensorboard", "--results_dir", str(results), "--log_dir", str(results.parent / "logs")]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in (results.parent / "logs").rglob("*") if path.is_file()}

    def write_file(folder: Path, *_: object) -> None:
        folder.mkdir(parents=True)
        write_text(folder / "x", "y")
        FULL.write_text("y")

    monkeypatch.setattr("analysis.to_tensorboard.write_file", write_file)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error == f"python -m analysis: error: {complaint(results.parent / 'logs' / 'bench' / 'one')}\n"
    assert {path: path.read_bytes() for path in (results.parent / "logs").rglob("*") if path.is_file()} == before
