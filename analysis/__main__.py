"""`python -m analysis COMMAND` (see --help): judge what `harness` measured.

Heavy libraries are imported inside the commands, so that `--help` and errors are quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, auto_cli

from analysis.decision.command import recommend
from analysis.load import InputError, Run, load_folder, load_run

INTERRUPTED = 130  # 128 and the number of the signal, as shells have it


class OneLineParser(ArgumentParser):
    """A parser whose errors are one line, and where runs follow one another as words."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """As in the base class, but for `runs`: jsonargparse would want a list in brackets."""
        if args == ("runs",):
            kwargs = {"help": kwargs.get("help"), "nargs": "+", "type": str}
        return super().add_argument(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message on one line and leave with status 2."""
        sys.stderr.write(f"python -m analysis: error: {' '.join(str(message).split())}\n")
        self.exit(2)
        raise AssertionError  # exit never returns; mypy cannot know


def report(
    run_id: str | None = None,
    results_dir: Path = Path("results"),
    weights_dir: Path = Path("weights"),
    log_dir: Path = Path("lightning_logs"),
) -> int:
    """Write summary.csv, figures, both reports and TensorBoard events of a run.

    Args:
        run_id: Folder name of the run under results_dir; the newest run when left out.
        results_dir: Folder of runs; the outputs go to <results_dir>/<run_id>/report/.
        weights_dir: Folder with best_<arch>_<size>.json, for accuracy per image size.
        log_dir: TensorBoard folder; events go to <log_dir>/bench/<run_id>/.
    """
    run = load_run(results_dir, run_id, weights_dir)
    from analysis.commands import write_all  # noqa: PLC0415 - keeps --help and errors quick

    return write_all(run, log_dir)


def figures(run_id: str | None = None, results_dir: Path = Path("results"), weights_dir: Path = Path("weights")) -> int:
    """Draw the figures of a run, PNG and SVG, in English and Russian.

    Args:
        run_id: Folder name of the run under results_dir; the newest run when left out.
        results_dir: Folder of runs; figures go to <results_dir>/<run_id>/report/figures/.
        weights_dir: Folder with best_<arch>_<size>.json, for accuracy per image size.
    """
    run = load_run(results_dir, run_id, weights_dir)
    from analysis.commands import write_figures  # noqa: PLC0415 - keeps --help and errors quick

    return write_figures(run)


def tensorboard(
    run_id: str | None = None,
    results_dir: Path = Path("results"),
    weights_dir: Path = Path("weights"),
    log_dir: Path = Path("lightning_logs"),
) -> int:
    """Write a run as TensorBoard events; an earlier export of the same run is replaced.

    Args:
        run_id: Folder name of the run under results_dir; the newest run when left out.
        results_dir: Folder of runs.
        weights_dir: Folder with best_<arch>_<size>.json, for accuracy per image size.
        log_dir: TensorBoard folder; events go to <log_dir>/bench/<run_id>/.
    """
    run = load_run(results_dir, run_id, weights_dir)
    from analysis.commands import write_tensorboard  # noqa: PLC0415 - keeps --help and errors quick

    return write_tensorboard(run, log_dir)


def compare(run_a: str, run_b: str, max_slowdown: str = "3%", results_dir: Path = Path("results")) -> int:
    """Compare two runs cell by cell. Exit status 1 when run B is really slower than max_slowdown allows, else 0.

    Args:
        run_a: Run to compare with (before): a folder or its name under results_dir.
        run_b: Run under question (after): likewise.
        max_slowdown: Slowdown in per cent that is let pass; beyond it counts only what the whole interval shows.
        results_dir: Folder of runs.
    """
    from analysis.compare import compare_runs, parse_percent  # noqa: PLC0415 - keeps --help quick

    limit = parse_percent(max_slowdown, "--max_slowdown")
    before, after = load_runs([run_a, run_b], results_dir)
    return compare_runs(before, after, limit)


def spread(runs: list[str], limit: str = "2%", results_dir: Path = Path("results"), output: Path | None = None) -> int:
    """Repeatability of runs of one config: how far apart their times lie, per cell and per contender.

    Args:
        runs: Two runs or more, each a folder or its name under results_dir.
        limit: Spread in per cent up to which a cell counts as repeated.
        results_dir: Folder of runs.
        output: File for the Markdown; left out, it is printed.
    """
    from analysis.compare import parse_percent  # noqa: PLC0415 - keeps --help quick
    from analysis.spread import find_spreads, write_spreads  # noqa: PLC0415 - keeps --help quick

    share = parse_percent(limit, "--limit")
    loaded = load_runs(runs, results_dir)
    write_spreads(find_spreads(loaded), loaded, share, output)
    return 0


def export(
    run_id: str | None = None,
    results_dir: Path = Path("results"),
    format: str = "parquet",
    output: Path | None = None,
) -> int:
    """Write the rows of a run and their samples as tables for other tools; columns: docs/data.md.

    Args:
        run_id: Folder name of the run under results_dir; the newest run when left out.
        results_dir: Folder of runs.
        format: parquet or csv.
        output: Folder for rows.<format> and samples.<format>; left out, <results_dir>/<run_id>/tables/.
    """
    run = load_run(results_dir, run_id)
    from analysis.to_tables import write_tables  # noqa: PLC0415 - keeps --help quick

    for path in write_tables(run, format, output or run.folder / "tables"):
        print(path)
    return 0


def log(
    to: str = "csv",
    run_id: str | None = None,
    results_dir: Path = Path("results"),
    weights_dir: Path = Path("weights"),
    log_dir: Path = Path("lightning_logs/tracked"),
) -> int:
    """Log a run to an experiment tracker through Lightning's loggers: one tracked run per contender, steps are batches.

    Args:
        to: csv, mlflow or wandb; the last two when they are installed, set up by their own environment variables.
        run_id: Folder name of the run under results_dir; the newest run when left out.
        results_dir: Folder of runs.
        weights_dir: Folder with best_<arch>_<size>.json, for accuracy per image size.
        log_dir: Folder for what the logger writes on this machine.
    """
    run = load_run(results_dir, run_id, weights_dir)
    from analysis.commands import write_log  # noqa: PLC0415 - keeps --help and errors quick

    return write_log(run, to, log_dir)


def machines(runs: list[str], *, prices: Path, results_dir: Path = Path("results")) -> int:
    """Compare machines: images per second and the cost of a million images, at each machine's best batch.

    Args:
        runs: Two runs or more, of one machine each; a folder or its name under results_dir.
        prices: YAML file with the price of an hour by device name under `per_hour`, and `currency` if wanted.
        results_dir: Folder of runs.
    """
    from analysis.machines import compare_machines, print_machines, read_prices  # noqa: PLC0415 - keeps --help quick

    table = read_prices(prices)
    print_machines(compare_machines(load_runs(runs, results_dir), table, prices), table.currency)
    return 0


def load_runs(runs: list[str], results_dir: Path) -> list[Run]:
    """Each a folder, or a name under `results_dir`."""
    return [load_folder(Path(run) if Path(run).is_dir() else results_dir / run) for run in runs]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; answers its exit status. Bad input is one line on stderr and 2, Ctrl-C is 130."""
    judging = {"report": report, "figures": figures, "tensorboard": tensorboard}
    others = {"compare": compare, "spread": spread, "recommend": recommend, "machines": machines}
    commands: Any = {**judging, **others, "export": export, "log": log}
    try:
        return int(auto_cli(commands, args=arguments, parser_class=OneLineParser, prog="python -m analysis"))
    except (InputError, OSError) as error:
        sys.stderr.write(f"python -m analysis: error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("python -m analysis: interrupted\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
