"""A profiler's trace (Chrome's format) in a table: where the time of a few inferences went."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from analysis.console import plain_console
from analysis.load import InputError
from analysis.markdown import escape

SHOWN = 20
DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of what ran on a GPU: torch.profiler's
HOST = ("cpu_op", "Node")  # and of the network's operations on a CPU: torch.profiler's, ONNX Runtime's


def describe_traces(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and table of each trace in a folder, by name. A file that is none is left out, with a printed line."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield path.stem, describe_trace(path)
        except InputError as error:
            plain_console().print(f"Left out: {error}", markup=False)


def describe_trace(path: Path) -> str:
    """The table, Markdown. Raises InputError for a file that is no trace."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        events = content["traceEvents"] if isinstance(content, dict) else content
        spans = [event for event in events if event.get("ph") == "X" and event.get("dur") is not None]
        rows = own_times(spans)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no trace in Chrome's format: {error}; delete it, or trace again") from None
    kernels = [row for row in rows if row[1] in DEVICE]
    shown = kernels or [row for row in rows if row[1] in HOST]
    whole = sum(own_us for *_, own_us in shown) or 1.0
    table = [
        f"| {escape(name)} | {count} | {own_us / 1000:.3f} | {100 * own_us / whole:.1f}% |"
        for name, _, count, own_us in shown[:SHOWN]
    ]
    where = "kernels and copies on the GPU" if kernels else "operations on the CPU"
    head = f"{path.name}: {where}, by their own time; the whole trace opens in ui.perfetto.dev."
    return "\n".join([head, "", "| what | calls | ms | share |", "|:---|---:|---:|---:|", *table, ""])


def _name(span: dict[str, Any]) -> str:
    """With the type of operation where the name does not tell: ONNX Runtime names nodes after their outputs."""
    details = span.get("args")
    operation = details.get("op_name") if isinstance(details, dict) else None
    return f"{operation} {span.get('name')}" if operation else str(span.get("name"))


def own_times(spans: Iterable[dict[str, Any]]) -> list[tuple[str, str, int, float]]:
    """(name, category, calls, own time in microseconds), longest first: time in a span less that of the spans within.

    Spans nest within one thread (`pid` and `tid`).
    """
    own: dict[tuple[str, str], list[float]] = defaultdict(list)
    threads: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
    for span in spans:
        threads[span.get("pid"), span.get("tid")].append(span)
    for thread in threads.values():
        open_spans: list[tuple[float, list[float], int]] = []  # end, own times of its name, its place there
        for span in sorted(thread, key=lambda span: (span["ts"], -span["dur"])):
            while open_spans and open_spans[-1][0] <= span["ts"]:
                open_spans.pop()
            if open_spans:
                _, times, place = open_spans[-1]
                times[place] -= span["dur"]
            times = own[_name(span), str(span.get("cat"))]
            times.append(float(span["dur"]))
            open_spans.append((span["ts"] + span["dur"], times, len(times) - 1))
    found = [(name, category, len(times), sum(times)) for (name, category), times in own.items()]
    return sorted(found, key=lambda row: (-row[3], row[0]))
