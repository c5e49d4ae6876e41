"""A study as TensorBoard events: one sub-run per contender, so that one chart compares approaches.

Beside them `report` (figures, reports, traces, layout) and `jobs`, one sub-run per cell for the HParams dashboard. A
second export gives the same bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
from tensorboard.plugins.scalar import summary_v2 as scalar
from tensorboard.plugins.text import summary_v2 as text

from analysis.events import FILE_NAME, Item, image_summary, write_file
from analysis.findings import best_per_contender
from analysis.first_view import make_addresses, make_layout
from analysis.jobs_table import describe_table, job_items, pick_jobs
from analysis.load import InputError
from analysis.study import Study
from analysis.telemetry_series import read_series, series_items
from analysis.traces import describe_traces
from analysis.whole_files import describe_failure, write_text

START_FILE = "start.txt"
SCALARS = ("fps", "speedup", "ms_per_image", "mean_ms", "host_ms", "cpu_memory_mb", "gpu_memory_mb", "tflops_per_s")
MOST_CHARTS = 12  # batch sizes with a chart over image size each


def write_events(study: Study, report_dir: Path, log_dir: Path) -> Path:
    """Replace <log_dir>/bench/<run-id>/ by this study's events; answers that folder.

    Figures and reports are taken from `report_dir` where they exist. start.txt says where to look first. Raises
    InputError naming the folder when it cannot be written; what was there before stays.
    """
    target = log_dir / "bench" / study.run.run_id
    fresh = target.with_name(target.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _write_fresh(study, report_dir, fresh)
        _put_in_place(fresh, target)
        addresses = [f"{what}: {address}\n" for what, address in make_addresses(study).items()]
        write_text(target / START_FILE, "".join(addresses))
    except OSError as error:
        raise InputError(describe_failure(target, error)) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _write_fresh(study: Study, report_dir: Path, fresh: Path) -> None:
    wall_time = _wall_time(study)
    series = series_items(best_per_contender(study), read_series(study.run.folder))
    batches = _pick(sorted(set(study.ranked["batch_size"])))
    for contender, lines in study.ranked.groupby("contender", sort=True):
        items = [*_scalars(lines, batches), *series.get(str(contender), [])]
        write_file(fresh / _folder_name(str(contender)), items, wall_time)
    for line in pick_jobs(study):
        job = f"{line['image_size']}_px_batch_{line['batch_size']}"
        folder = fresh / "jobs" / _folder_name(line["contender"]) / job
        write_file(folder, job_items(line, wall_time), wall_time)
    write_file(fresh / "report", _documents(study, report_dir), wall_time)


def _put_in_place(fresh: Path, target: Path) -> None:
    if target.exists():
        _remove_own(target)
    for path in sorted(fresh.rglob(FILE_NAME)):
        place = target / path.relative_to(fresh)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _remove_own(target: Path) -> None:
    """Remove our event files and the folders they leave empty; a stranger's file stays."""
    for path in sorted(target.rglob(FILE_NAME)):
        path.unlink()
        for folder in path.parents:
            if folder == target or any(folder.iterdir()):
                break
            folder.rmdir()


def _folder_name(contender: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", contender)


def _wall_time(study: Study) -> float:
    try:
        return datetime.fromisoformat(min(row.started_at for row in study.run.rows)).timestamp()
    except ValueError:
        return 0.0


def _pick(batches: list[int]) -> set[int]:
    """At most MOST_CHARTS of them, evenly spaced, first and last among them."""
    last = len(batches) - 1
    if last < MOST_CHARTS:
        return set(batches)
    return {batches[i * last // (MOST_CHARTS - 1)] for i in range(MOST_CHARTS)}


def _scalars(lines: pd.DataFrame, batches: set[int]) -> Iterator[Item]:
    """Every number over batch size (a chart per image size), and over image size (a chart for each of `batches`)."""
    for line in lines.to_dict("records"):
        size, batch = int(line["image_size"]), int(line["batch_size"])
        for name in SCALARS:
            value = line[name]
            if value is None or pd.isna(value):
                continue
            yield Item(batch, scalar.scalar_pb(f"{name}_over_batch_size/{size}_px", float(value)))
            if batch in batches:
                yield Item(size, scalar.scalar_pb(f"{name}_over_image_size/batch_{batch}", float(value)))


def _documents(study: Study, report_dir: Path) -> Iterator[Item]:
    yield Item(0, make_layout(study))
    yield Item(0, describe_table())
    for path in sorted((report_dir / "figures").glob("*.png")):
        yield Item(0, image_summary(f"figures/{path.stem}", path.read_bytes()))
    for path in sorted((report_dir / "figures" / "ru").glob("*.png")):
        yield Item(0, image_summary(f"figures_ru/{path.stem}", path.read_bytes()))
    for path in sorted(report_dir.glob("report.*.md")):
        yield Item(0, text.text_pb(path.stem.replace(".", "_"), path.read_text(encoding="utf-8")))
    for name, table in describe_traces(study.run.folder / "profiles"):
        yield Item(0, text.text_pb(f"profile/{name}", table))
