"""One run from its arguments to its last row: checks first, then the folder, then the sweep."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from harness.artifacts import Model, find_models
from harness.audit import describe_load, observe_load
from harness.ceilings import describe_ceilings, try_ceilings
from harness.cluster import Cluster, connect
from harness.cluster_sweep import ClusterSweep
from harness.config import BenchConfig, check_run_id
from harness.environments import find_tensorrt_versions
from harness.interrupt import Interrupt
from harness.machine import describe_machine
from harness.plan import drop_done, plan_groups
from harness.progress import Progress, print_time_sheet
from harness.resume import find_difference, find_done, keep_references, read_settings
from harness.store import ResultsLock, RunFolder, StoreError
from harness.sweep import Sweep
from harness.telemetry import Telemetry
from harness.time_sheet import TimeSheet
from harness.traces import find_profiled, keep_traces

INTERRUPTED = 130


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `resume` = go on with run_id under its own config; see the flags' help.

    `last_round`: later rounds of the plan wait for another call.
    """

    config: BenchConfig
    run_id: str | None
    resume: bool
    continue_or_replace: bool
    weights_dir: Path
    results_dir: Path
    profile: tuple[str, ...] = ()
    cluster: str | None = None
    accelerator: str | None = None
    last_round: int | None = None


def run(request: Request, interrupt: Interrupt | None = None) -> int:
    """Measure what is asked for; returns the exit status (0, or 130 when interrupted).

    `interrupt`: that of several runs in turn, installed before. Raises ValueError and its kin for bad input, before
    anything is written.
    """
    folder, config = find_folder(request)
    if request.cluster is None:
        machine = describe_machine(config.device)
        versions = find_tensorrt_versions(config, machine["kind"])
        models = find_models(request.weights_dir, config.image_sizes, config.arch, machine["device"], versions)
    else:
        models = find_models(request.weights_dir, config.image_sizes, config.arch)
    config.check_sizes(models)
    find_profiled(request.profile, plan_groups(config, list(models)))
    if request.cluster is not None and request.profile:
        raise ValueError("--profile: traces jobs on this machine only; leave --cluster out")
    lock = ResultsLock(request.results_dir)
    cluster = None
    try:
        if request.cluster is not None:
            cluster = connect(request.cluster, config, request.accelerator, folder.run_id, request.weights_dir)
            machine = cluster.machine
            if cluster.tensorrt:  # engines beside the files above, which are read again for that
                known = request.weights_dir, config.image_sizes, config.arch
                models = find_models(*known, machine["device"], cluster.tensorrt)
        load = cluster.load if cluster else observe_load(machine["kind"])
        busy = describe_load(load)
        if busy and config.strict:
            raise StoreError(f"--strict true: {busy}")
        open_folder(folder, config, cluster.machines if cluster else {"": machine}, models, request)
        if busy:
            print(f"Warning: {busy} (--strict true stops instead).")
        if interrupt is None:
            interrupt = Interrupt()
            interrupt.install()
        return measure(config, folder, models, machine, interrupt, load=load, request=request, cluster=cluster)
    finally:
        if cluster:
            cluster.close()
        lock.release()


def find_folder(request: Request) -> tuple[RunFolder, BenchConfig]:
    """The run's folder and config; those of the run to resume, if any. Raises StoreError or ValueError."""
    run_id = request.run_id or datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    folder = RunFolder(request.results_dir / check_run_id(run_id))
    if not request.resume:
        return folder, request.config
    if not folder.begun:
        there = {path.parent.name for path in request.results_dir.glob("*/rows.jsonl*")}
        known = ", ".join(sorted(there)) or "none"
        raise StoreError(f"--resume {run_id}: no such run in {request.results_dir} (there are: {known})")
    try:
        return folder, read_settings(folder)
    except StoreError as error:
        raise StoreError(f"--resume {run_id}: {error}; start a new run") from None


def open_folder(
    folder: RunFolder,
    config: BenchConfig,
    machines: dict[str, dict[str, Any]],
    models: dict[int, Model],
    request: Request,
) -> None:
    """Create the run's folder, or accept the one that is there. Raises StoreError when it may not be continued."""
    if folder.begun and (request.resume or request.continue_or_replace):
        fault = find_difference(folder, config, machines, models)
        if not fault:
            if read_settings(folder) != config:  # a field that is new since is no difference
                folder.write_config(asdict(config))
            return
        if request.resume:
            raise StoreError(f"--resume {request.run_id}: {fault}; start a new run")
        print(f"{folder.path}: {fault}; the old run is kept as {folder.set_aside()}")
    folder.create(asdict(config), next(iter(machines.values())))


def measure(
    config: BenchConfig,
    folder: RunFolder,
    models: dict[int, Model],
    machine: dict[str, Any],
    interrupt: Interrupt,
    *,
    load: dict[str, Any],
    request: Request,
    cluster: Cluster | None,
) -> int:
    """Measure what has no row yet; returns the exit status."""
    done = find_done(folder.read_rows(), models)
    planned = list(plan_groups(config, list(models)))
    last = request.last_round or config.rounds
    groups = drop_done((group for group in planned if group.first.round <= last), done)
    if groups:
        folder.check_appendable()
    threads = config.threads or machine["cpu"]["usable_cores"]
    left = sum(len(group.jobs) for group in groups)
    print(f"Run {folder.run_id} on {machine['device']}, {threads} threads: {left} jobs to measure, {len(done)} done.")
    sys.stdout.flush()
    folder.write_json("models.json", describe_models(models))
    keep_references(folder, models)
    folder.make_folder("logs")
    sheet = TimeSheet()
    wanted = config.calibrate and left > 0 and not (folder.path / "ceilings.json").exists()
    if wanted and not cluster and not interrupt.requested:
        calibrate(folder, machine, threads, sheet)
    progress = Progress(Console(), groups, len(done), machine["kind"])  # its clock starts here
    sweep: Sweep | ClusterSweep
    if cluster:
        folder.write_json("machines.json", cluster.machines)
        hear = partial(keep_ceilings, folder) if wanted else None
        sweep = ClusterSweep(config, cluster, folder, models, progress.show_row, interrupt, sheet, hear)
    else:
        telemetry = Telemetry.open(machine["kind"])
        if machine["kind"] == "cuda" and telemetry.absent:
            print(f"No GPU telemetry: {telemetry.absent}.", flush=True)
        sweep = Sweep(config, folder, models, machine, threads, progress.show_row, telemetry, interrupt, sheet)
    if left:  # before any row: a report of a run that is killed tells what is missing
        begun = {"load_before": load, "planned_jobs": sum(len(group.jobs) for group in planned)}
        folder.write_json("audit.json", {**folder.read_json("audit.json"), **begun})
    sweep.run(groups)
    if left:
        write_audit(folder, sweep)
        print_time_sheet(sweep.time_sheet.to_dict(), len(cluster.machines) if cluster else 1)
    command = make_resume_command(request, folder)
    if interrupt.requested:
        print(f"Interrupted; {progress.count} of {progress.total} rows are kept. Continue: {command}")
        return INTERRUPTED
    if isinstance(sweep, Sweep):
        profiled = find_profiled(request.profile, planned)
        left_out = keep_traces(profiled, folder.path / "profiles", sweep.keep_trace, lambda: interrupt.requested)
        if left_out:
            print(
                f"Interrupted; all rows are kept, {left_out} of {len(profiled)} traces are missing. Continue: {command}"
            )
            return INTERRUPTED
    print(f"Rows: {folder.rows_path}")
    return 0


def describe_models(models: dict[int, Model]) -> dict[str, Any]:
    """The work of one image by image size, as models.json has it; what an export did not record is left out."""
    known = ("flops_per_image", "parameters", "layers")
    manifests = {str(size): model.reference.manifest for size, model in models.items()}
    return {size: {name: m[name] for name in known if name in m} for size, m in manifests.items()}


def calibrate(folder: RunFolder, machine: dict[str, Any], threads: int, sheet: TimeSheet) -> None:
    """Measure the machine's ceilings, and say them."""
    start = time.monotonic()
    keep_ceilings(folder, try_ceilings(sys.executable, machine, threads, folder.path / "logs/calibrate.log"))
    seconds = time.monotonic() - start
    sheet.calibrating += seconds
    sheet.wall += seconds


def keep_ceilings(folder: RunFolder, ceilings: dict[str, Any]) -> None:
    """Write and say the machine's ceilings, or why there are none."""
    if "failed" in ceilings:
        print(f"No ceilings: {ceilings['failed']}.", flush=True)
        return
    folder.write_json("ceilings.json", ceilings)
    print(describe_ceilings(ceilings), flush=True)


def write_audit(folder: RunFolder, sweep: Sweep | ClusterSweep) -> None:
    """Add what the run says of itself to what it began with; times of a resumed run are added up."""
    known = folder.read_json("audit.json")
    earlier = known.get("time_sheet_s", {})
    sheet = {name: value + earlier.get(name, 0.0) for name, value in sweep.time_sheet.to_dict().items()}
    overheads = sweep.clock_overhead_ms
    found = {
        "time_sheet_s": sheet,
        "parent_cpu_percent": 100 * sheet["parent_cpu"] / sheet["wall"],
        "null_job_ms": float(np.median(overheads)) if overheads else None,
    }
    folder.write_json("audit.json", {**known, **found})


def make_resume_command(request: Request, folder: RunFolder) -> str:
    """What to type to go on with this run."""
    folders = {"--results_dir": (request.results_dir, "results"), "--weights_dir": (request.weights_dir, "weights")}
    changed = [f"{flag} {shlex.quote(str(path))} " for flag, (path, default) in folders.items() if str(path) != default]
    profile = f"[{','.join(request.profile)}]" if request.profile else None
    wanted = {"--cluster": request.cluster, "--accelerator": request.accelerator, "--profile": profile}
    changed += [f"{flag} {shlex.quote(value)} " for flag, value in wanted.items() if value]
    return f"python -m harness {''.join(changed)}--resume {folder.run_id}"
