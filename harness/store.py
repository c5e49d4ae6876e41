"""A run's folder: rows are appended one line at a time and survive kill -9; one harness at a time per folder."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import zlib
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import yaml

from harness.schema import Job, Row, SchemaError, read_rows
from harness.whole_files import append_whole, write_whole


class StoreError(ValueError):
    """The results folder cannot be used; one line, with the mend."""


def utc_now() -> str:
    """ISO 8601, seconds, UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Record(Protocol):
    """What is kept as a line of its own."""

    def to_json(self) -> str:
        """The line, without its end."""
        ...


class ResultsLock:
    """Held while a harness measures into `results_dir`; freed by the system when the process ends, however it ends."""

    def __init__(self, results_dir: Path) -> None:
        """Raises StoreError: another harness holds it, or nothing can be written there."""
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            self.file = (results_dir / ".lock").open("a+b", buffering=0)
            self._take(results_dir)
        except OSError as error:
            raise StoreError(f"--results_dir {results_dir}: cannot write there ({error.strerror})") from None

    def _take(self, results_dir: Path) -> None:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            owner = self.file.read().decode().strip() or "unknown"
            self.file.close()
            raise StoreError(
                f"--results_dir {results_dir}: another harness (process {owner}) is measuring there; wait for it to end"
            ) from None
        self.file.truncate(0)
        self.file.write(str(os.getpid()).encode())

    def release(self) -> None:
        """Give the folder free."""
        self.file.close()


class RunFolder:
    """results/<run-id>/ with rows.jsonl, telemetry.jsonl, config.yaml, machine.json and logs/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows_path = path / "rows.jsonl"

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def packed_path(self) -> Path | None:
        """The rows where `gzip` has put them (docs/decisions/scale.md): then they are read only."""
        packed = self.rows_path.with_name(self.rows_path.name + ".gz")
        return packed if packed.exists() and not self.rows_path.exists() else None

    @property
    def begun(self) -> bool:
        """Whether it holds a run: a start that was killed, or met a full disk, leaves neither a config nor a row."""
        rows = self.rows_path.stat().st_size if self.rows_path.exists() else 0
        return rows > 0 or self.packed_path is not None or (self.path / "config.yaml").exists()

    def create(self, config: dict[str, Any], machine: dict[str, Any]) -> None:
        """Make the folder with its config and machine. Raises StoreError: it is a run, or cannot be written."""
        exists = StoreError(f"{self.path} exists: continue it with --resume {self.run_id}, or give another --run_id")
        if self.begun:
            raise exists
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / "machine.json", _to_json({**machine, "started_at": utc_now()}))
            self.rows_path.touch()
            write_whole(self.path / "config.yaml", _to_yaml(config))  # last: with it, the folder is a run
        except FileExistsError:  # a file of that name
            raise exists from None
        except OSError as error:
            raise StoreError(f"--results_dir {self.path.parent}: cannot write there ({error.strerror})") from None

    def make_folder(self, name: str) -> Path:
        """A folder in this one. Raises StoreError."""
        path = self.path / name
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise self._refuse(path, error) from None
        return path

    def write_config(self, config: dict[str, Any]) -> None:
        """Keep the configuration, in place of the one that is there. Raises StoreError."""
        self._replace("config.yaml", _to_yaml(config))

    def read_config(self) -> dict[str, Any]:
        """The configuration that the run was started with. Raises StoreError, which says what is wrong with it."""
        try:
            config = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise StoreError(f"its config.yaml cannot be read ({error.__class__.__name__})") from None
        if not isinstance(config, dict):
            raise StoreError("its config.yaml holds no settings")
        return config

    def read_rows(self) -> list[Row]:
        """All whole rows, packed or not. Raises StoreError naming the line of one that is damaged."""
        path = self.packed_path or self.rows_path
        try:
            content = path.read_bytes()
            content = gzip.decompress(content) if self.packed_path else content
            return list(read_rows(content.decode()))
        except FileNotFoundError:
            return []
        except (OSError, EOFError, zlib.error) as error:
            raise StoreError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
        except (SchemaError, UnicodeDecodeError) as error:
            raise StoreError(f"{path}: {error}") from None

    def check_appendable(self) -> None:
        """Raises StoreError where the rows are packed: new ones beside them would hide them from every reader."""
        if self.packed_path:
            raise StoreError(f"{self.packed_path}: rows cannot be added to a packed file; run `gunzip` on it first")

    def drop_half_line(self) -> None:
        """Cut a last line that has no end: its writer was killed while writing it. Raises StoreError."""
        if not self.rows_path.exists():
            return
        try:
            with self.rows_path.open("r+b") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
        except OSError as error:
            raise self._refuse(self.rows_path, error) from None

    def append(self, row: Record) -> None:
        """Add one row and wait until it is on the disk. Raises StoreError when it cannot be written whole.

        What could be written of it is taken back, so that the file holds whole rows only.
        """
        try:
            append_whole(self.rows_path, row.to_json().encode() + b"\n")
        except OSError as error:
            raise self._refuse(self.rows_path, error) from None

    def append_telemetry(self, job: Job, series: dict[str, Any]) -> None:
        """Add one job's time series to telemetry.jsonl; an empty one leaves nothing.

        A disk too full for it is left to `append`, which the job's row meets next.
        """
        if series:
            line = json.dumps({"job": asdict(job), **series}, separators=(",", ":"))
            with contextlib.suppress(OSError), (self.path / "telemetry.jsonl").open("ab", buffering=0) as file:
                file.write(f"{line}\n".encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """What `write_json` wrote; empty where there is no such file. Raises StoreError."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path / name}: cannot be read ({error.__class__.__name__}); delete it") from None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file whole or not at all. Raises StoreError."""
        self._replace(name, _to_json(content))

    def _replace(self, name: str, text: str) -> None:
        try:
            write_whole(self.path / name, text)
        except OSError as error:
            raise self._refuse(self.path / name, error) from None

    def _refuse(self, path: Path, error: OSError) -> StoreError:
        return StoreError(
            f"{path}: cannot write ({error.strerror}); all earlier rows are kept. "
            f"Make space, then --resume {self.run_id}"
        )

    def set_aside(self) -> Path:
        """Rename a run that is out of date to <run-id>.<time of its last change>; nothing is deleted.

        Raises StoreError.
        """
        changed = self.packed_path or (self.rows_path if self.rows_path.exists() else self.path)
        stamp = datetime.fromtimestamp(changed.stat().st_mtime, timezone.utc).strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.run_id}.{stamp}")
        try:
            self.path.rename(target)
        except OSError as error:
            mend = "move one of them away"
            raise StoreError(f"{self.path}: cannot be renamed to {target} ({error.strerror}); {mend}") from None
        return target


def _to_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _to_yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False)
