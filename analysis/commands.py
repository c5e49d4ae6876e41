"""What each command writes, and the short answer it prints."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.markup import escape
from rich.table import Table

from analysis.columns import COLUMNS, explain_telemetry
from analysis.console import plain_console
from analysis.drawing import draw_languages
from analysis.findings import best_per_contender
from analysis.language import Language
from analysis.load import InputError, Run
from analysis.names import network_label
from analysis.report import write_report
from analysis.study import Study, judge
from analysis.to_logger import log_study, make_logger
from analysis.to_tensorboard import START_FILE, write_events
from analysis.whole_files import write_text
from harness.schema import ARCH


def write_all(run: Run, log_dir: Path) -> int:
    """summary.csv, columns.md, figures, reports and events; prints the answer and the paths."""
    folder = run.folder / "report"
    with plain_console().status("judging the rows") as status:  # shown on a terminal only
        study = _judged(run)
        write_summary(study, folder)
        status.update("drawing figures")
        drawn = draw_languages(study.table, origin(study), folder)
        status.update("writing reports and events")
        reports = write_report(study, drawn, folder)
        events = write_events(study, folder, log_dir)
    print_answer(study, [folder / "summary.csv", folder / "figures", *reports, events])
    return 0


def write_figures(run: Run) -> int:
    """The figures alone."""
    study = _judged(run)
    drawn = draw_languages(study.table, origin(study), run.folder / "report")
    plain_console().print(f"{len(drawn)} figures: {run.folder / 'report' / 'figures'}", markup=False)
    return 0


def write_tensorboard(run: Run, log_dir: Path) -> int:
    """The events alone; figures and the report are embedded when they were written before."""
    events = write_events(_judged(run), run.folder / "report", log_dir)
    command = shlex.join(["python", "-m", "tensorboard.main", "--logdir", str(log_dir)])
    plain_console().print(f"TensorBoard: {command}", markup=False)
    plain_console().print((events / START_FILE).read_text(encoding="utf-8").rstrip(), markup=False)
    return 0


def write_log(run: Run, to: str, log_dir: Path) -> int:
    """The study into an experiment tracker."""
    study = _judged(run)
    count = log_study(study, lambda contender: make_logger(to, study, contender, log_dir))
    plain_console().print(f"{count} contenders logged to {to}", markup=False)
    return 0


def write_summary(study: Study, folder: Path) -> None:
    """summary.csv and the meaning of its columns."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    study.table.to_csv(buffer, index=False, lineterminator="\n")
    write_text(folder / "summary.csv", buffer.getvalue())
    extra = [name for name in study.table.columns if name not in COLUMNS]
    meanings = [f"- `{name}`: {text}" for name, text in COLUMNS.items()]
    meanings += [f"- `{name}`: {explain_telemetry(name)}" for name in extra]
    write_text(folder / "columns.md", "# Columns of summary.csv\n\n" + "\n".join(meanings) + "\n")


def origin(study: Study) -> dict[str, str]:
    """Machine, clock and run: what a figure needs when it is seen alone; and the network when it is not the study's."""
    clocks = ", ".join(sorted({row.clock for row in study.run.rows}))
    network = [] if study.run.arch == ARCH else [network_label(study.run.arch)]
    return {"device": " · ".join([*network, study.device]), "clock": clocks, "run": study.run.run_id}


def _judged(run: Run) -> Study:
    if not run.rows:
        raise InputError(f"{run.folder}: holds no rows yet; let the benchmark measure at least one job")
    return judge(run)


def print_answer(study: Study, paths: Iterable[Path]) -> None:
    """Each approach at its best batch, and where everything was written."""
    console, language = plain_console(), Language("en")
    best = best_per_contender(study)
    table = Table(title=escape(f"{origin(study)['device']}: each approach at its best batch"), title_justify="left")
    for name in ("px", "approach", "batch", "images/s", "ms/image", "speedup"):
        table.add_column(name, justify="left" if name == "approach" else "right")
    for line in best:
        ratio = language.times(line["speedup"]) if pd.notna(line["speedup"]) else "—"
        note = {"tie": " tie", "baseline": " baseline"}.get(line["verdict"], "")
        numbers = (language.number(line["fps"]), language.number(line["ms_per_image"]), ratio + note)
        table.add_row(str(line["image_size"]), escape(line["label"]), str(line["batch_size"]), *numbers)
    if best:
        console.print(table)
    else:
        console.print("Nothing was measured: every cell failed; the report lists the reasons.")
    for path in paths:
        console.print(str(path), markup=False)
