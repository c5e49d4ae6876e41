"""Records of `python -m export.engine_search` as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from export.search_plan import FACTORS

Record = dict[str, Any]
SAME = ("gpu", "tensorrt", "arch", "image_size", "precision", "onnx_sha256", "samples_sha256")  # of one table
SETTINGS = {
    "profile": "profile",
    "optimization_level": "level",
    "timing_iterations": "timings",
    "tactic_sources": "sources",
    "stem": "stem",
    "input_layout": "input",
    "quantized": "Q-DQ",
}


def to_markdown(records: Iterable[Record]) -> str:
    """One table for each network, precision, GPU and TensorRT, with a line for each trial; a repeated one replaces it.

    Rates in images per second; the fastest trial with right answers is bold.
    """
    latest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        names = (*SAME, *FACTORS, "seconds")
        key = (*(record[name] for name in names), *record["batch_sizes"])
        latest.pop(key, None)
        latest[key] = record
    tables: dict[tuple[Any, ...], list[Record]] = {}
    for record in latest.values():
        tables.setdefault(tuple(record[name] for name in SAME), []).append(record)
    return "\n".join(line for table in tables.values() for line in _table(table))


def find_best(records: Iterable[Record]) -> Record | None:
    """The fastest trial whose answers are right; None when there is none."""
    return max((record for record in records if record["status"] == "ok"), key=_rate, default=None)


def show(record: Record) -> str:
    """What came of a trial, for a progress line."""
    built = f"built in {record['build_s']:.1f} s ({record['timing_cache']}), " if "build_s" in record else ""
    if "images_per_s" not in record:
        return f"{built}{record['status']}: {record['reason']}"
    line = f"{built}{record['images_per_s']:,.0f} img/s at batch {record['batch_size']}"
    if record["accuracy"] is not None:
        line += f", accuracy {record['accuracy']:.1%}"
    return line if record["status"] == "ok" else f"{line}; {record['status']}: {record['reason']}"


def _table(records: Sequence[Record]) -> list[str]:
    first, best = records[0], find_best(records)
    sizes = sorted({size for record in records for size in record["batch_sizes"]})
    settings = [name for name in SETTINGS if first[name] is not None]
    head = [*(SETTINGS[name] for name in settings), "build, s", "cache", "MB", *(f"batch {size}" for size in sizes)]
    head += ["best", "accuracy", "rel\\_l2", "top-1 agreement", "compute layers", "note"]
    align = [":---"] * len(settings) + ["---:", ":---", "---:"] + ["---:"] * (len(sizes) + 4) + [":---", ":---"]
    rows = [head, align, *(_cells(record, settings, sizes, bold=record is best) for record in records)]
    days = sorted({record["started_at"][:10] for record in records})
    accuracy = first["reference_accuracy"]
    caption = (
        f"{first['arch']} {first['image_size']} px, {first['precision']}, {first['gpu']}, "
        f"TensorRT {first['tensorrt']}, {' and '.join(days)}; images/s"
    )
    if accuracy is not None:
        caption += f"; accuracy in fp32 {accuracy:.1%}"
    return [f"{caption}.", "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _cells(record: Record, settings: Sequence[str], sizes: Sequence[int], *, bold: bool) -> list[str]:
    batches, parity = record.get("batches", {}), record.get("parity", {})
    rate = f"{_rate(record):,.0f}" if "images_per_s" in record else ""
    counts = record.get("compute_dtypes", {})
    return [
        *(str(record[name]) for name in settings),
        _number(record.get("build_s"), ".1f"),
        record.get("timing_cache", ""),
        _number(record["engine_bytes"] / 1e6, ".1f") if "engine_bytes" in record else "",
        *(_number(batches.get(str(size), {}).get("images_per_s"), ",.0f") for size in sizes),
        f"**{rate}**" if bold else rate,
        _number(record.get("accuracy"), ".1%"),
        _number(parity.get("rel_l2"), ".1e"),
        _number(parity.get("top1_agreement"), ".1%"),
        ", ".join(f"{count} {dtype}" for dtype, count in counts.items()),
        "" if record["status"] == "ok" else f"{record['status']}: {record['reason']}".replace("|", "\\|"),
    ]


def _rate(record: Record) -> float:
    return float(record["images_per_s"])


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
