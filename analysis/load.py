"""Reads one run's folder: rows through `harness.schema`, everything else as plain JSON or YAML."""

from __future__ import annotations

import gc
import gzip
import json
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from harness.schema import ARCH, Job, Row, SchemaError

if TYPE_CHECKING:
    import pandas as pd

ROW_FILES = ("rows.jsonl", "rows.jsonl.gz")
NUMBERS = ("flops_per_image", "artifact_bytes", "build_ms", "load_ms", "gpu_memory_mb", "cpu_memory_mb")


class InputError(ValueError):
    """Input that cannot be used; the message is one line that names the file or flag and the mend."""


@dataclass(frozen=True)
class Run:
    """One run as read from `results/<run-id>/`.

    `rows` holds the latest row of each job; `superseded` counts the older ones left out. `weights` maps an image size
    to its training record (weights/best_<arch>_<size>.json), only where that file describes the weights timed here;
    `stale_weights` lists the sizes whose record describes other weights. `ceilings` is what the machine was seen to do
    at best, `models` the work of one image by image size; both are empty for older runs.
    """

    run_id: str
    folder: Path
    rows: list[Row]
    superseded: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    ceilings: dict[str, Any] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)
    weights: dict[int, dict[str, Any]] = field(default_factory=dict)
    stale_weights: tuple[int, ...] = ()

    @property
    def arch(self) -> str:
        """The network that was timed, as torchvision names it."""
        return self.rows[0].arch if self.rows else ARCH


def rows_file(folder: Path) -> Path | None:
    """The file of rows in a run's folder, plain before compressed."""
    return next((folder / name for name in ROW_FILES if (folder / name).is_file()), None)


def find_runs(results_dir: Path) -> list[str]:
    """Run ids under `results_dir`, oldest first: by the machine's record of the start, then by the rows' file time."""
    if not results_dir.is_dir():
        return []
    found = [(folder, rows_file(folder)) for folder in results_dir.iterdir() if folder.is_dir()]
    aged = [(_started_at(folder), path.stat().st_mtime, folder.name) for folder, path in found if path]
    return [name for _, _, name in sorted(aged)]


def _started_at(folder: Path) -> str:
    try:
        return str(json.loads((folder / "machine.json").read_text(encoding="utf-8"))["started_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def choose_run(results_dir: Path, run_id: str | None) -> str:
    """`run_id` when it exists, the newest run when it is None. Raises InputError that lists the runs there are."""
    known = find_runs(results_dir)
    if not known:
        raise InputError(f"--results_dir: no runs in {results_dir}; `make bench` makes one")
    if run_id is None:
        return known[-1]
    if run_id not in known:
        raise InputError(f"run {run_id!r} is not in {results_dir}; known runs: {', '.join(known)}")
    return run_id


def load_run(results_dir: Path, run_id: str | None = None, weights_dir: Path | None = None) -> Run:
    """Read a run. Raises InputError: unknown run, a line that is no row, a file that is not JSON or YAML."""
    run_id = choose_run(results_dir, run_id)
    folder = results_dir / run_id
    path = rows_file(folder)
    if path is None:
        raise InputError(f"{folder}: holds no {ROW_FILES[0]}")
    count, latest = 0, dict[Job, Row]()
    with _no_collection():
        for row in read_rows(path):
            latest[row.job] = row  # a repeated key keeps its place and takes the later row
            count += 1
    _refuse_mixture(path, latest.values())
    weights, stale = _weights(weights_dir, list(latest.values()))
    return Run(
        run_id=run_id,
        folder=folder,
        rows=list(latest.values()),
        superseded=count - len(latest),
        config=_mapping(folder / "config.yaml"),
        machine=_mapping(folder / "machine.json"),
        audit=_mapping(folder / "audit.json"),
        ceilings=_mapping(folder / "ceilings.json"),
        models=_mapping(folder / "models.json"),
        weights=weights,
        stale_weights=stale,
    )


def _refuse_mixture(path: Path, rows: Collection[Row]) -> None:
    """What a ranking may not mix. Cards of one name that share a run's cells are one device here."""
    for what, name in (("network", "arch"), ("device", "device"), ("clock", "clock")):
        found = sorted({getattr(row, name) for row in rows})
        if len(found) > 1:
            raise InputError(f"{path}: rows of several {what}s ({', '.join(found)}); keep those of one {what} in a run")


def load_folder(folder: Path) -> Run:
    """The run in a folder, which may be `.` or `..`. Raises InputError as load_run does."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return load_run(named.parent, named.name)


def load_frames(folder: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and samples of a run's folder as pandas tables (docs/data.md). Raises InputError as load_run does."""
    from analysis.frames import make_rows_frame, make_samples_frame  # noqa: PLC0415 - pandas, which most errors precede

    run = load_folder(Path(folder))
    return make_rows_frame(run.rows), make_samples_frame(run.rows)


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a file, one after another, so that a large file is never held as text. Raises InputError.

    As harness.schema.read_rows: a last line without its line end (a writer was killed) is left out.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            known: dict[bytes, dict[str, Any]] = {}
            for line in file:
                number += 1
                if line.endswith(b"\n") and line.strip():
                    yield _check_numbers(Row.from_dict(_share(orjson.loads(line), known)))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except (SchemaError, orjson.JSONDecodeError) as error:
        reason = f"not JSON: {error}" if isinstance(error, orjson.JSONDecodeError) else error
        raise InputError(f"{path}:{number}: {reason}; mend or delete this line, or run the job again") from None


def _check_numbers(row: Row) -> Row:
    """The row, when what is reckoned with is numbers; the schema checks the samples."""
    for name in NUMBERS:
        value = getattr(row, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise SchemaError(f"{name}: {value!r} is not a number")
    return row


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's cycle collector away from millions of new objects that hold no cycle, then and later.

    It would walk through all of them again and again: half of the time of a large run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _share(values: Any, known: dict[bytes, dict[str, Any]]) -> Any:
    """Let rows share what is the same in most of them: half of the memory of a large run."""
    for name in ("options", "versions", "executed", "same_as") if isinstance(values, dict) else ():
        if isinstance(values.get(name), dict):
            values[name] = known.setdefault(orjson.dumps(values[name]), values[name])
    return values


def _mapping(path: Path) -> dict[str, Any]:
    """A JSON or YAML mapping; empty when the file is missing (an interrupted or older run)."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no mapping")
    return value


def _weights(folder: Path | None, rows: list[Row]) -> tuple[dict[int, dict[str, Any]], tuple[int, ...]]:
    timed: dict[int, set[str]] = {}
    for row in rows:
        timed.setdefault(row.job.image_size, set()).update({row.weights_sha256} if row.weights_sha256 else ())
    records, stale = {}, []
    for size in sorted(timed):
        record = _mapping(folder / f"best_{rows[0].arch}_{size}.json") if folder else {}
        if not record:
            continue
        if timed[size] and record.get("sha256") and record["sha256"] not in timed[size]:
            stale.append(size)
        else:
            records[size] = record
    return records, tuple(stale)
