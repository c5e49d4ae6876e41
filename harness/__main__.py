"""`python -m harness`: time every contender at every image size and batch size, on this machine."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import jsonargparse
from jsonargparse.typing import PositiveInt

from harness.config import BenchConfig
from harness.repeat import repeat
from harness.run import INTERRUPTED, Request, run
from harness.server_config import ServerConfig
from harness.server_run import run_server

Settings = TypeVar("Settings", BenchConfig, ServerConfig)


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
    parser.add_argument(
        "--scenario",
        type=Literal["sweep", "server"],
        default="sweep",
        help="sweep: time every job. server: let requests arrive at random at a batching server, and find the rate it "
        "can stand (docs/decisions/server-scenario.md); rows go to server.jsonl.",
    )
    parser.add_class_arguments(ServerConfig, None, fail_untyped=True)
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
        help="If --run_id exists: continue it when its config, machine, weights, exports and reference are unchanged "
        "(more --rounds are added), else set it aside under another name and start anew. Used by `make bench`.",
    )
    parser.add_argument(
        "--repeat",
        type=PositiveInt,
        default=1,
        help="Measure everything in this many runs, <run_id>-1 and so on, which take turns round by round; `python -m "
        "analysis spread` then tells how far fresh runs lie apart on this machine. Give it several --rounds.",
    )
    parser.add_argument(
        "--profile",
        type=list[str],
        default=[],
        help="Jobs to trace once all are timed, each `backend/variant/precision/image_size/batch_size`, e.g. "
        "`[pytorch/eager/fp32/224/8]`; also with --resume. Traces go to <run>/profiles/, in Chrome's format.",
    )
    parser.add_argument("--weights_dir", type=Path, default=Path("weights"), help="Folder with weights and exports.")
    parser.add_argument("--results_dir", type=Path, default=Path("results"), help="Folder that gets the run's folder.")
    parser.add_argument(
        "--cluster",
        type=str | None,
        help="Spread the jobs over a Ray cluster: local (started for this run, on loopback), HOST:PORT or "
        "ray://HOST:PORT. Needs requirements-cluster.txt. Files that a machine lacks are sent to it.",
    )
    parser.add_argument(
        "--accelerator",
        type=str | None,
        help="With --cluster: measure on accelerators of this type only, as Ray names it, e.g. H200. Needed where "
        "the cluster has several, unless --device cpu measures whole nodes.",
    )
    return parser


def main() -> int:
    """Returns the exit status: 0 when every planned job has its row, 2 for bad input, 130 when interrupted."""
    parser = build_parser()
    args = parser.parse_args(["--print_config=comments" if a == "--print_config" else a for a in sys.argv[1:]])
    try:
        if args.scenario == "server":
            unused = ("resume", "continue_or_replace", "cluster", "accelerator", "profile", "only")
            refuse(args, *unused, why="with --scenario server, which is measured anew and on this machine")
            if args.repeat > 1:
                raise ValueError("--repeat: not with --scenario server; start it as often as you want")
            settings = pick(ServerConfig, args)
            return run_server(pick(BenchConfig, args), settings, args.run_id, args.weights_dir, args.results_dir)
        if args.cluster is None:
            refuse(args, "accelerator", why="without --cluster")
        request = Request(
            config=pick(BenchConfig, args),
            run_id=args.resume or args.run_id,
            resume=args.resume is not None,
            continue_or_replace=args.continue_or_replace,
            weights_dir=args.weights_dir,
            results_dir=args.results_dir,
            profile=tuple(args.profile),
            cluster=args.cluster,
            accelerator=args.accelerator,
        )
        if args.repeat == 1:
            return run(request)
        refuse(args, "resume", "profile", "cluster", why="with --repeat, whose runs begin together on this machine")
        return repeat(request, args.repeat)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:  # before a run takes the signal over: nothing has been measured
        print("Interrupted.")
        return INTERRUPTED


def pick(kind: type[Settings], args: jsonargparse.Namespace) -> Settings:
    """The flags that are fields of this class. Raises ValueError naming a flag."""
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in args.as_dict().items() if name in names})


def refuse(args: jsonargparse.Namespace, *names: str, why: str) -> None:
    """Raises ValueError for a flag that is given, and has no use here."""
    for name in names:
        if args[name]:
            raise ValueError(f"--{name}: not {why}")


if __name__ == "__main__":
    sys.exit(main())
