"""The file of a search: one JSON line for each trial, so that a search can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.files import BadInputError

Record = dict[str, Any]


def append(path: Path, record: Record) -> None:
    """Add one line. Raises ValueError for NaN or infinity, which are not JSON."""
    line = json.dumps(record, allow_nan=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_records(path: Path) -> list[Record]:
    """All lines of a file; none when it is missing. Raises BadInputError for one that is no trial."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            record["status"], record["batch_sizes"], record["onnx_sha256"]
            record.setdefault("input_layout", "nchw")  # the only one while there was no choice
        except (ValueError, KeyError, TypeError):
            raise BadInputError(f"--output: line {number} of {path} is no trial of a search; delete it") from None
        records.append(record)
    return records


def find_done(records: Sequence[Record], identity: Mapping[str, Any], max_build_seconds: float) -> Record | None:
    """The latest record that agrees with `identity`; one that was given up counts only if it had as much time."""
    for record in reversed(records):
        had_time = record["status"] != "timeout" or record["max_build_seconds"] >= max_build_seconds
        if had_time and all(record.get(name) == value for name, value in identity.items()):
            return record
    return None
