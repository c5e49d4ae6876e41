"""A run's folder: rows are appended one line at a time and survive kill -9; one harness at a time per folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import yaml

from harness.schema import Job, Row, SchemaError, read_rows


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
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            self.file = (results_dir / ".lock").open("a+")
        except OSError as error:
            raise StoreError(f"--results_dir {results_dir}: cannot write there ({error.strerror})") from None
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            owner = self.file.read().strip() or "unknown"
            self.file.close()
            raise StoreError(
                f"--results_dir {results_dir}: another harness (process {owner}) is measuring there; wait for it to end"
            ) from None
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()

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

    def create(self, config: dict[str, Any], machine: dict[str, Any]) -> None:
        """Make the folder with its config and machine. Raises StoreError when that cannot be written."""
        try:
            self.path.mkdir(parents=True)
            self.write_config(config)
            self.write_json("machine.json", {**machine, "started_at": utc_now()})
            self.rows_path.touch()
        except FileExistsError:
            raise StoreError(
                f"{self.path} exists: continue it with --resume {self.run_id}, or give another --run_id"
            ) from None
        except OSError as error:
            raise StoreError(f"--results_dir {self.path.parent}: cannot write there ({error.strerror})") from None

    def write_config(self, config: dict[str, Any]) -> None:
        """Keep the configuration, in place of the one that is there. Raises StoreError."""
        try:
            self._write_whole("config.yaml", yaml.safe_dump(config, sort_keys=False))
        except OSError as error:
            raise StoreError(f"{self.path}: cannot write there ({error.strerror})") from None

    def read_config(self) -> dict[str, Any]:
        """The configuration that the run was started with. Raises StoreError."""
        try:
            return yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise StoreError(
                f"{self.path}/config.yaml cannot be read ({error.__class__.__name__}): start a new run"
            ) from None

    def read_rows(self) -> list[Row]:
        """All whole rows. Raises StoreError naming the line of one that is damaged."""
        try:
            return list(read_rows(self.rows_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return []
        except (SchemaError, UnicodeDecodeError) as error:
            raise StoreError(f"{self.rows_path}: {error}") from None

    def drop_half_line(self) -> None:
        """Cut a last line that has no end: its writer was killed while writing it."""
        if not self.rows_path.exists():
            return
        with self.rows_path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)

    def append(self, row: Record) -> None:
        """Add one row and wait until it is on the disk. Raises StoreError when it cannot be written whole.

        What could be written of it is taken back, so that the file holds whole rows only.
        """
        line = row.to_json().encode() + b"\n"
        with self.rows_path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                written = file.write(line)
                if written != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(size)
                raise StoreError(
                    f"{self.rows_path}: cannot write ({error.strerror}); all earlier rows are kept. "
                    f"Make space, then --resume {self.run_id}"
                ) from None

    def append_telemetry(self, job: Job, series: dict[str, Any]) -> None:
        """Add one job's time series to telemetry.jsonl; an empty one leaves nothing.

        A disk too full for it is left to `append`, which the job's row meets next.
        """
        if series:
            line = json.dumps({"job": asdict(job), **series}, separators=(",", ":"))
            with contextlib.suppress(OSError), (self.path / "telemetry.jsonl").open("ab", buffering=0) as file:
                file.write(f"{line}\n".encode())

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file whole or not at all."""
        self._write_whole(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _write_whole(self, name: str, text: str) -> None:
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path / name)

    def set_aside(self) -> Path:
        """Rename a run that is out of date to <run-id>.<time of its last change>; nothing is deleted."""
        stamp = datetime.fromtimestamp(self.rows_path.stat().st_mtime, timezone.utc).strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.run_id}.{stamp}")
        self.path.rename(target)
        return target
