"""`--scenario server`: checks first, then the folder, then the serving check, one line a step."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from harness.artifacts import find_models
from harness.audit import describe_load, observe_load
from harness.config import BenchConfig, check_run_id
from harness.environments import find_tensorrt_versions
from harness.interrupt import Interrupt
from harness.machine import describe_machine
from harness.server import ServingCheck, describe_settings
from harness.server_config import ServerConfig
from harness.server_schema import ServerRow
from harness.store import ResultsLock, RunFolder

INTERRUPTED = 130


def run_server(
    config: BenchConfig, settings: ServerConfig, run_id: str | None, weights_dir: Path, results_dir: Path
) -> int:
    """Check what is asked for; returns the exit status: 0, or 130 when interrupted. Raises ValueError for bad input."""
    name = check_run_id(run_id or datetime.now(timezone.utc).strftime("server-%Y%m%d-%H%M%S"))
    folder = RunFolder(results_dir / name)
    folder.rows_path = folder.path / "server.jsonl"
    if folder.begun:
        raise ValueError(f"--run_id {name}: {folder.path} exists; give another, a serving check is not continued")
    machine = describe_machine(config.device)
    versions = find_tensorrt_versions(config, machine["kind"])
    models = find_models(weights_dir, config.image_sizes, config.arch, machine["device"], versions)
    threads = config.threads or machine["cpu"]["usable_cores"]
    interrupt = Interrupt()
    lock = ResultsLock(results_dir)
    try:
        busy = describe_load(observe_load(machine["kind"]))
        if busy and config.strict:
            raise ValueError(f"--strict true: {busy}")
        folder.create(describe_settings(config, settings), machine)
        if busy:
            print(f"Warning: {busy} (--strict true stops instead).")
        print(
            f"Serving check {name} on {machine['device']}, {threads} threads, batches of {config.batches}.", flush=True
        )
        interrupt.install()
        ServingCheck(
            config,
            settings,
            folder,
            models,
            machine,
            threads,
            show_row,
            lambda peak: show_peak(peak, settings),
            interrupt,
        ).run()
    finally:
        lock.release()
    print(f"{'Interrupted; rows so far' if interrupt.requested else 'Rows'}: {folder.rows_path}")
    return INTERRUPTED if interrupt.requested else 0


def show_row(row: ServerRow) -> None:
    """One line a step."""
    name = f"{row.backend}/{row.variant}/{row.precision} {row.image_size} px"
    print(f"{name}  {describe_step(row)}", flush=True)


def show_peak(peak: float | None, settings: ServerConfig) -> None:
    """What the search found."""
    limit = f"p99 within {settings.p99_limit_ms:g} ms"
    print(
        f"Peak: {peak:.1f} requests/s with {limit}." if peak else f"No rate that was tried keeps {limit}.", flush=True
    )


def describe_step(row: ServerRow) -> str:
    """Rates, latency, and whether the limit is kept; where it is not, by how much."""
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    if row.scenario == "offline":
        best = max(row.offline_fps, key=row.offline_fps.__getitem__)
        return f"offline: {row.offline_fps[best]:.1f} img/s at batch {best}"
    latency = ", ".join(f"p{percent} {row.percentile_ms(percent):.1f}" for percent in (50, 90, 99))
    wrong = f", {row.wrong} wrong" if row.wrong else ""
    found = f"{row.purpose}: {row.rate_per_s:.1f}/s offered, {row.answered_per_s:.1f}/s answered; {latency} ms{wrong}; "
    if row.keeps_limit:
        return f"{found}limit kept, {row.missed} of {row.requests} late"
    over = row.percentile_ms(99) - row.limit_ms
    return (
        f"{found}limit NOT kept: p99 is {over:.1f} ms over {row.limit_ms:g} ms, {row.missed} of {row.requests} late "
        f"({row.missed / row.requests:.0%}), queue up to {max(row.queue)}, {row.queue[-1]} at the end"
    )
