"""A study as TensorBoard events: one sub-run per contender, so that one chart compares approaches.

The file is written with TensorBoard's own record writer under a fixed name and with the run's time stamp, so a second
export gives the same bytes, and neither a host name nor a process id ends up in it.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import summary_v2 as scalar
from tensorboard.plugins.text import summary_v2 as text
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from analysis.study import Study

FILE_NAME = "events.out.tfevents.0.analysis"
SCALARS = ("fps", "speedup", "ms_per_image", "mean_ms", "host_ms", "cpu_memory_mb", "gpu_memory_mb", "tflops_per_s")
Item = tuple[int, Summary]


def write_events(study: Study, report_dir: Path, log_dir: Path) -> Path:
    """Replace <log_dir>/bench/<run-id>/ by this study's events; answers that folder.

    Figures and reports are taken from `report_dir` where they exist.
    """
    target = log_dir / "bench" / study.run.run_id
    fresh = target.with_name(target.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    wall_time = _wall_time(study)
    for contender, lines in study.ranked.groupby("contender", sort=True):
        _write(fresh / _folder_name(str(contender)), _scalars(lines), wall_time)
    _write(fresh / "report", _documents(report_dir), wall_time)
    if target.exists():
        _remove_own(target)
    for part in sorted(fresh.iterdir()):
        (target / part.name).mkdir(parents=True, exist_ok=True)
        (part / FILE_NAME).replace(target / part.name / FILE_NAME)
    shutil.rmtree(fresh)
    return target


def _remove_own(target: Path) -> None:
    """Remove our event files and the folders they leave empty; a stranger's file stays."""
    for path in sorted(target.rglob(FILE_NAME)):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _folder_name(contender: str) -> str:
    return re.sub(r"[^\w.-]+", "-", contender)


def _wall_time(study: Study) -> float:
    try:
        return datetime.fromisoformat(min(row.started_at for row in study.run.rows)).timestamp()
    except ValueError:
        return 0.0


def _scalars(lines: pd.DataFrame) -> Iterator[Item]:
    """Every number twice: over batch size (one chart per image size) and over image size (one chart per batch)."""
    for line in lines.to_dict("records"):
        size, batch = int(line["image_size"]), int(line["batch_size"])
        for name in SCALARS:
            value = line[name]
            if value is None or pd.isna(value):
                continue
            yield batch, scalar.scalar_pb(f"{name}_over_batch_size/{size}_px", float(value))
            yield size, scalar.scalar_pb(f"{name}_over_image_size/batch_{batch}", float(value))


def _documents(report_dir: Path) -> Iterator[Item]:
    for path in sorted((report_dir / "figures").glob("*.png")):
        yield 0, _image(f"figures/{path.stem}", path.read_bytes())
    for path in sorted((report_dir / "figures" / "ru").glob("*.png")):
        yield 0, _image(f"figures_ru/{path.stem}", path.read_bytes())
    for path in sorted(report_dir.glob("report.*.md")):
        yield 0, text.text_pb(path.stem.replace(".", "_"), path.read_text(encoding="utf-8"))


def _image(tag: str, png: bytes) -> Summary:
    width, height = struct.unpack(">II", png[16:24])  # the IHDR chunk comes first in every PNG
    metadata = image_metadata.create_summary_metadata(display_name=None, description="", converted_to_tensor=True)
    tensor = tensor_util.make_tensor_proto([str(width).encode(), str(height).encode(), png])
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])


def _write(folder: Path, items: Iterator[Item], wall_time: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE_NAME).open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString())
        for step, summary in sorted(items, key=lambda item: item[0]):
            writer.write(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())
        writer.flush()
