"""May a run's folder be gone on with, and which of its jobs are done?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from harness.artifacts import Model
from harness.commands import find_artifact
from harness.config import BenchConfig
from harness.schema import Job, Row
from harness.store import RunFolder, StoreError

REFERENCES = "references.json"  # sha256 of the file that rows' answers are compared with, by image size


def read_settings(folder: RunFolder) -> BenchConfig:
    """The config that a sweep was started with. Raises StoreError, which says what is wrong with it."""
    values = folder.read_config()
    if values.get("scenario") == "server":
        raise StoreError("it is a serving check (--scenario server), which is measured in one go")
    unknown = sorted(map(str, values.keys() - {each.name for each in fields(BenchConfig)}))
    if unknown:
        raise StoreError(f"its config.yaml has settings that this version does not know ({', '.join(unknown)})")
    try:
        return BenchConfig(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"its config.yaml is none of this version ({error})") from None


def find_difference(
    folder: RunFolder, config: BenchConfig, machines: dict[str, dict[str, Any]], models: dict[int, Model]
) -> str:
    """Why rows of this folder and new ones would not belong together; empty when they do. Raises StoreError.

    `machines` by what their rows call them (`options.machine`): "" where one measures without a cluster.
    """
    try:
        before = read_settings(folder)
    except StoreError as error:
        return str(error)
    if replace(before, rounds=max(before.rounds, config.rounds)) != config:  # more rounds do no harm
        return "its config differs"
    folder.drop_half_line()
    references = folder.read_json(REFERENCES)
    for row in folder.read_rows():
        fault = _compare_machine(row, config, machines) or _compare_files(row, models, references)
        if fault:
            return fault
    return ""


def _compare_machine(row: Row, config: BenchConfig, machines: dict[str, dict[str, Any]]) -> str:
    device = next(iter(machines.values()))["device"]
    if row.device != device:
        return f"it was measured on {row.device}, and this machine is {device}"
    machine, before = machines.get(row.options.get("machine", "")), row.options.get("threads")
    threads = config.threads or (machine["cpu"]["usable_cores"] if machine else before)  # others know no such machine
    if before not in (None, threads):
        return f"it was measured with {before} threads, one for each usable core, and would go on with {threads}"
    return ""


def _compare_files(row: Row, models: dict[int, Model], references: dict[str, Any]) -> str:
    size = row.job.image_size
    model = models.get(size)
    known = {artifact.sha256 for artifact in model.artifacts} if model else set()
    used = {row.weights_sha256} if row.status == "unavailable" else {row.weights_sha256, row.artifact_sha256}
    if model is None or not used <= known:
        return f"the weights or exports at {size} px have changed since"
    if references.get(str(size), model.reference.sha256) != model.reference.sha256:
        return f"the reference images at {size} px have changed since"
    return ""


def keep_references(folder: RunFolder, models: dict[int, Model]) -> None:
    """Write REFERENCES, before the first row: sizes that were measured earlier stay. Raises StoreError."""
    now = {str(size): model.reference.sha256 for size, model in models.items()}
    folder.write_json(REFERENCES, folder.read_json(REFERENCES) | now)


def find_done(rows: Iterable[Row], models: dict[int, Model]) -> set[Job]:
    """Jobs of `rows` that need no further row.

    One that was `unavailable` is done only as long as the file that it would read is the same: an export may have been
    made since. Its next row takes the place of that one (docs/data.md).
    """
    return {
        row.job for row in rows if row.status != "unavailable" or row.artifact_sha256 == _find_used(row.job, models)
    }


def _find_used(job: Job, models: dict[int, Model]) -> str:
    model = models[job.image_size]
    return (find_artifact(job, model) or model.weights).sha256
