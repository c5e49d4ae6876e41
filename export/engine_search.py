"""`python -m export.engine_search`: the fastest TensorRT engine on this GPU, and a table of all that was tried."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.search_options import PROG, Options, list_values, read_options
from export.search_plan import Trial, combine, list_trials
from export.search_records import append, find_done, read_records
from export.search_table import show, to_markdown

if TYPE_CHECKING:  # heavy: imported where used
    from export.search_trial import Bench

Record = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 no trial was right, 2 bad input, 130 interrupted."""
    options = read_options(arguments)
    from export.builder import Builder, find_interpreter  # noqa: PLC0415 - torch takes seconds: bad flags do not wait
    from export.files import BadInputError, CheckFailedError  # noqa: PLC0415
    from export.search_trial import Bench  # noqa: PLC0415
    from training.checkpoint import TrainingError  # noqa: PLC0415

    log = options.weights_dir / "engines" / "builder.log"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="engine-search-") as folder,
            Builder(find_interpreter(options.engine_python), log) as builder,
        ):
            return search(options, Bench(options, builder, Path(folder)))
    except (BadInputError, TrainingError) as error:
        return _stop(2, f"error: {error}")
    except CheckFailedError as error:
        return _stop(1, f"error: {error}")
    except OSError as error:
        return _stop(2, f"error: {error.filename}: {error.strerror}; check its permissions and the free space")
    except KeyboardInterrupt:
        return _stop(130, f"interrupted; what was measured is in {options.output}, run it again for the rest")


def search(options: Options, bench: Bench) -> int:
    """Run what the output does not have yet; keep each record at once. Exit status 0, or 1 when none was right."""
    kept = read_records(options.output)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    trials = list_trials(list_values(options))
    found: dict[Trial, Record] = {}

    def attempt(trial: Trial, position: str) -> None:
        record = find_done(kept, bench.identify(trial), options.max_build_seconds)
        known = "known: " if record else ""
        if record is None:
            print(f"[{position}] {trial}", flush=True)
            record = bench.run(trial)
            append(options.output, record)
            kept.append(record)
        options.output.with_suffix(".md").write_text(to_markdown(kept), encoding="utf-8")
        print(f"[{position}] {trial}: {known}{show(record)}", flush=True)
        found[trial] = record

    for number, trial in enumerate(trials, 1):
        attempt(trial, f"{number}/{len(trials)}")
    together = combine(trials, rate(found))
    if together and together not in found:
        attempt(together, "the best together")
    print(to_markdown(found.values()), flush=True)
    rates = rate(found)
    if not rates:
        return _stop(1, "no trial gave right answers; the table says why")
    best = max(rates, key=rates.__getitem__)
    print(f"best: {best}: {show(found[best])}", flush=True)
    return 0


def rate(found: dict[Trial, Record]) -> dict[Trial, float]:
    """Images per second of the trials whose answers are right."""
    return {trial: record["images_per_s"] for trial, record in found.items() if record["status"] == "ok"}


def _stop(status: int, line: str) -> int:
    print(f"{PROG}: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    # a time limit ends as Ctrl-C does: without its parent, the child would go on building, beside the next search
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
