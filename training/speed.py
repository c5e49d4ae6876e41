"""`python -m training.speed`: how fast training is here, by step, by loop and by loader, in images per second."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from training.speed_options import PROG, Options, fill_in, read_options
from training.speed_table import digits, missed_targets, to_markdown


def show(record: dict[str, Any]) -> str:
    """One line for a reader."""
    least, most = min(record["windows_images_per_s"]), max(record["windows_images_per_s"])
    parts = [f"{record['image_size']} px", record["measured"], record.get("mode"), record.get("cache")]
    line = ", ".join(part for part in parts if part)
    median, least, most = (digits(rate) for rate in (record["images_per_s"], least, most))
    line += f": {median} img/s ({least} to {most})"
    if "wait_share" in record:
        line += f", {record['wait_share']:.1%} of the time between steps"
    if "first_step_s" in record:
        line += f", first step {record['first_step_s']:.1f} s"
    return line


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a target missed, 2 bad input or too little memory, 130 Ctrl-C, 143 SIGTERM."""
    options = read_options(arguments)
    # a cached compilation would make the first step look faster than it is on a new machine
    os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    from torch import OutOfMemoryError  # noqa: PLC0415

    from training.__main__ import quieten  # noqa: PLC0415
    from training.ending import run_until_ended  # noqa: PLC0415
    from training.errors import TrainingError  # noqa: PLC0415

    quieten()
    try:
        records = run_until_ended(partial(run, options), f"{PROG}: ended; {_kept(options)}")
    except TrainingError as error:
        return _stop(2, str(error))
    except OutOfMemoryError:
        return _stop(2, "--batch_size: that many images do not fit into the GPU's memory; give fewer")
    except OSError as error:
        return _stop(2, f"--output: {error.filename}: {error.strerror}")
    missed = missed_targets(records, options.min_step, options.min_together, options.max_overhead)
    for line in missed:
        print(f"missed: {line}", flush=True)
    return 1 if missed else 0


def run(options: Options) -> list[dict[str, Any]]:
    """Measure, show and keep: every record at once in --output, and the table of all that stands there beside it."""
    from training.speed_tasks import measure  # noqa: PLC0415

    every_size = fill_in(options)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.touch()
    records = []
    with tempfile.TemporaryDirectory(prefix="training-speed-") as folder:
        for settings in every_size:
            for record in measure(settings, Path(folder)):
                records.append(record)
                print(show(record), flush=True)
                if options.output:
                    with options.output.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")
    print(to_markdown(records), flush=True)
    if options.output:
        kept = [json.loads(line) for line in options.output.read_text(encoding="utf-8").splitlines()]
        options.output.with_suffix(".md").write_text(to_markdown(kept), encoding="utf-8")
    return records


def _kept(options: Options) -> str:
    return f"what was measured is in {options.output}" if options.output else "what was measured is printed above"


def _stop(status: int, line: str) -> int:
    print(f"{PROG}: error: {' '.join(line.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
