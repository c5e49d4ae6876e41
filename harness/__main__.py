"""`python -m harness`: time every contender at every image size and batch size, on this machine."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from rich.console import Console

from harness.artifacts import ArtifactError, Model, find_models
from harness.config import BenchConfig, check_run_id
from harness.machine import describe_machine
from harness.plan import drop_done, plan_groups
from harness.progress import Progress, format_seconds
from harness.store import ResultsLock, RunFolder, StoreError
from harness.sweep import Sweep

INTERRUPTED = 130


class ArgumentParser(jsonargparse.ArgumentParser):
    """Answers bad input with one line and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """See argparse."""
        print(f"{self.prog}: error: {' '.join(message.split())}", file=sys.stderr)
        self.exit(2)


def build_parser() -> ArgumentParser:
    """All flags; those of BenchConfig take their help from its docstring."""
    parser = ArgumentParser(
        prog="python -m harness",
        description="Times ways of running the trained classifiers on this machine. Every planned job ends as one row "
        "of results/<run-id>/rows.jsonl, with raw samples; `python -m analysis report` turns them into answers.",
    )
    parser.add_argument(
        "--config", action="config", help="YAML file with any of the flags below, e.g. harness/configs/quick.yaml."
    )
    parser.add_class_arguments(BenchConfig, None, fail_untyped=True)
    parser.add_argument("--run_id", type=str | None, help="Name of the run's folder. Default: the time of its start.")
    parser.add_argument(
        "--resume",
        type=str | None,
        metavar="RUN_ID",
        help="Continue this run with its own config: measure what is missing.",
    )
    parser.add_argument(
        "--continue_or_replace",
        type=bool,
        default=False,
        help="If --run_id exists: continue it when its config, weights and exports are unchanged, else set it aside "
        "under another name and start anew. Used by `make bench`.",
    )
    parser.add_argument("--weights_dir", type=Path, default=Path("weights"), help="Folder with weights and exports.")
    parser.add_argument("--results_dir", type=Path, default=Path("results"), help="Folder that gets the run's folder.")
    return parser


def main() -> int:
    """Returns the exit status: 0 when every planned job has its row, 2 for bad input, 130 when interrupted."""
    parser = build_parser()
    args = parser.parse_args()
    try:
        return run(args)
    except (ValueError, ArtifactError, StoreError) as error:
        parser.error(str(error))


def run(args: jsonargparse.Namespace) -> int:
    """Measure what the arguments ask for. Raises ValueError and its kin for bad input, before anything is written."""
    if args.resume is not None:
        folder = RunFolder(args.results_dir / check_run_id(args.resume))
        if not folder.path.is_dir():
            known = ", ".join(sorted(path.parent.name for path in args.results_dir.glob("*/rows.jsonl"))) or "none"
            raise StoreError(f"--resume {args.resume}: no such run in {args.results_dir} (there are: {known})")
        config = BenchConfig(**folder.read_config())
    else:
        config = make_config(args)
        run_id = args.run_id or datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        folder = RunFolder(args.results_dir / check_run_id(run_id))
    machine = describe_machine(config.device)
    models = find_models(args.weights_dir, config.image_sizes)
    lock = ResultsLock(args.results_dir)
    try:
        open_folder(folder, config, machine, models, args)
        return measure(config, folder, models, machine, make_resume_command(args, folder))
    finally:
        lock.release()


def make_config(args: jsonargparse.Namespace) -> BenchConfig:
    """The flags that are BenchConfig's."""
    names = BenchConfig.__dataclass_fields__
    return BenchConfig(**{name: value for name, value in args.as_dict().items() if name in names})


def open_folder(
    folder: RunFolder,
    config: BenchConfig,
    machine: dict[str, Any],
    models: dict[int, Model],
    args: jsonargparse.Namespace,
) -> None:
    """Create the run's folder, or accept the one that is there. Raises StoreError when it may not be continued."""
    if folder.path.exists() and (args.resume or args.continue_or_replace):
        fault = find_difference(folder, config, models)
        if not fault:
            folder.drop_half_line()
            return
        if args.resume:
            raise StoreError(f"--resume {args.resume}: {fault}; start a new run")
        print(f"{folder.path}: {fault}; the old run is kept as {folder.set_aside()}")
    folder.create(asdict(config), machine)


def find_difference(folder: RunFolder, config: BenchConfig, models: dict[int, Model]) -> str:
    """Why rows of this folder and new ones would not belong together; empty when they do."""
    if BenchConfig(**folder.read_config()) != config:
        return "its config differs"
    folder.drop_half_line()
    for row in folder.read_rows():
        model = models.get(row.job.image_size)
        known = {artifact.sha256 for artifact in model.artifacts} if model else set()
        if row.weights_sha256 not in known or row.artifact_sha256 not in known:
            return f"the weights or exports at {row.job.image_size} px have changed since"
    return ""


def make_resume_command(args: jsonargparse.Namespace, folder: RunFolder) -> str:
    """What to type to go on with this run."""
    folders = {"--results_dir": (args.results_dir, "results"), "--weights_dir": (args.weights_dir, "weights")}
    changed = [f"{flag} {shlex.quote(str(path))} " for flag, (path, default) in folders.items() if str(path) != default]
    return f"python -m harness {''.join(changed)}--resume {folder.run_id}"


def measure(
    config: BenchConfig, folder: RunFolder, models: dict[int, Model], machine: dict[str, Any], resume_command: str
) -> int:
    """Measure what has no row yet; returns the exit status."""
    done = {row.job for row in folder.read_rows()}
    groups = drop_done(plan_groups(config, list(models)), done)
    console = Console()
    threads = config.threads or machine["cpu"]["usable_cores"]
    left = sum(len(group.jobs) for group in groups)
    print(
        f"Run {folder.run_id} on {machine['device']}, {threads} threads: {left} jobs to measure, {len(done)} done.",
        flush=True,
    )
    progress = Progress(console, groups, len(done))
    sweep = Sweep(config, folder, models, machine, threads, sys.executable, progress.show_row)
    sweep.interrupt.install()
    sweep.run(groups)
    if left:
        sheet = sweep.time_sheet.to_dict()
        folder.write_json(
            "audit.json", {"time_sheet_s": sheet, "parent_cpu_percent": 100 * sheet["parent_cpu"] / sheet["wall"]}
        )
        print_time_sheet(sheet)
    if sweep.interrupt.requested:
        print(f"Interrupted; {progress.count} of {progress.total} rows are kept. Continue: {resume_command}")
        return INTERRUPTED
    print(f"Rows: {folder.rows_path}")
    return 0


def print_time_sheet(sheet: dict[str, float]) -> None:
    """Where the time went, and what the parent process used of it."""
    parts = ", ".join(
        f"{name.replace('_', ' ')} {sheet[name]:.0f} s"
        for name in ("measuring", "warm_up", "parity", "loading", "importing", "other")
    )
    overhead = sheet["wall"] / max(sheet["measuring"] + sheet["warm_up"], 1e-9)
    print(f"Time: {format_seconds(sheet['wall'])} = {parts} ({overhead:.2f} x the timed windows).")
    print(f"The parent process used {100 * sheet['parent_cpu'] / sheet['wall']:.2f}% of a core meanwhile.")


if __name__ == "__main__":
    sys.exit(main())
