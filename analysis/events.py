"""TensorBoard event files with the same bytes for the same items: no host name, no process id, no clock of today."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

FILE_NAME = "events.out.tfevents.0.analysis"


class Item(NamedTuple):
    """One summary at a step; `at_s` seconds after the run's start, for charts over time."""

    step: int
    summary: Summary
    at_s: float = 0.0


def write_file(folder: Path, items: Iterable[Item], wall_time: float) -> None:
    """Write FILE_NAME into `folder`, by step; `wall_time` is the run's start."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE_NAME).open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString())
        for step, summary, at_s in sorted(items, key=lambda item: item.step):
            writer.write(Event(wall_time=wall_time + at_s, step=step, summary=summary).SerializeToString())
        writer.flush()


def image_summary(tag: str, png: bytes) -> Summary:
    """A PNG as it is: TensorBoard's own function would draw it again."""
    width, height = struct.unpack(">II", png[16:24])  # the IHDR chunk comes first in every PNG
    metadata = image_metadata.create_summary_metadata(display_name=None, description="", converted_to_tensor=True)
    tensor = tensor_util.make_tensor_proto([str(width).encode(), str(height).encode(), png])
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
