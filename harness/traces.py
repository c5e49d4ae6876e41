"""Profiler traces of chosen jobs: asked for by flag, made after every job was timed, each by a worker of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.plan import Group
from harness.schema import AGAIN, Job

Keep = Callable[[Job, Path], str]  # writes the trace; answers why it could not, or nothing
Stopped = Callable[[], bool]


def name_job(job: Job) -> str:
    """`backend/variant/precision/image_size/batch_size`, as --profile takes it."""
    return f"{job.contender}/{job.image_size}/{job.batch_size}"


def find_profiled(names: Iterable[str], groups: Iterable[Group]) -> list[Job]:
    """The planned jobs of these names, first round. Raises ValueError naming the flag and what there is."""
    planned = {name_job(job): job for group in groups for job in group.jobs if job.round == 1}
    known = {name: job for name, job in planned.items() if not job.variant.endswith(AGAIN)}
    for name in names:
        if name not in known:
            few = ", ".join(list(known)[:3])
            raise ValueError(f"--profile {name}: not a job of this run; its {len(known)} jobs are {few}, ...")
    return [known[name] for name in dict.fromkeys(names)]


def keep_traces(jobs: list[Job], folder: Path, keep: Keep, stopped: Stopped) -> int:
    """Write folder/<job>.json for each job, and say where, or why not: a missing trace costs no row.

    Answers how many were left out, or given up, because the run was `stopped`.
    """
    for number, job in enumerate(jobs):
        if stopped():
            return len(jobs) - number
        path = folder / f"{name_job(job).replace('/', '-')}.json"
        fault = _keep_whole(job, path, keep)
        if fault and stopped():
            return len(jobs) - number
        print(f"No trace of {name_job(job)}: {fault}" if fault else f"Trace (open it in ui.perfetto.dev): {path}")
    return 0


def _keep_whole(job: Job, path: Path, keep: Keep) -> str:
    """As `keep`, but `path` appears only once its trace is whole, and nothing else of a try that fails.

    A worker that is killed leaves half a file, and ONNX Runtime one of another name.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as scratch:
            fault = keep(job, Path(scratch) / path.name)
            if not fault:
                (Path(scratch) / path.name).replace(path)
            return fault
    except OSError as error:
        return f"{path}: cannot write ({error.strerror})"
