"""Records of `python -m training.speed` as a table, and against targets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Literal

Record = dict[str, Any]
HEADER = (
    "| px | batch | source | mode | cache | gather | loader | step | together | share | bare | overhead | limiter |",
    "|---:|---:|:---|:---|:---|---:|---:|---:|---:|---:|---:|---:|:---|",
)
KEEPS_UP = 0.95  # of the step's own rate: the loader does not limit


def to_markdown(records: Iterable[Record]) -> str:
    """A table for each device: one line for each image size, source, mode and cache; rates in images per second."""
    latest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        names = ("device", "source", "image_size", "batch_size", "precision", "measured", "mode", "cache")
        latest[tuple(record.get(name) for name in names)] = record
    parts = []
    for device in sorted({record["device"] for record in latest.values()}):
        here = [record for record in latest.values() if record["device"] == device]
        parts += [_caption(here), "", *HEADER, *_lines(here), ""]
    return "\n".join(parts)


def _caption(records: Sequence[Record]) -> str:
    first = records[0]
    days = sorted({record["measured_at"][:10] for record in records})
    kinds = sorted({f"{record['precision']}, {record['memory_format']}, {record['optimizer']}" for record in records})
    machine, versions = first["machine"], first["versions"]
    return (
        f"{first['device']}, {machine['cores']} cores, {' and '.join(days)}; {'; '.join(kinds)}; "
        + ", ".join(f"{name} {versions[name]}" for name in ("torch", "torchvision", "lightning"))
        + "; images/s."
    )


def _lines(records: Sequence[Record]) -> list[str]:
    runs: dict[tuple[Any, ...], dict[tuple[str, str | None], Record]] = {}
    for record in records:
        key = (record["image_size"], record["batch_size"], record["source"])
        name = record["measured"] + (record.get("cache") or "")
        runs.setdefault(key, {})[name, record.get("mode")] = record
    lines = []
    for (size, batch, source), found in sorted(runs.items()):
        caches = [name.removeprefix("loader") for name, _ in found if name.startswith("loader")]
        caches += [name.removeprefix("together") for name, _ in found if name.startswith("together")]
        for mode in dict.fromkeys(mode for _, mode in found if mode) or [""]:
            step, bare = found.get(("step", mode)), found.get(("bare", mode))
            for cache in dict.fromkeys(caches) or [""]:
                both, loader = found.get((f"together{cache}", mode)), found.get((f"loader{cache}", None))
                gathered = found.get((f"gather{cache}", None))
                share = both["images_per_s"] / step["images_per_s"] if both and step else None
                cells = [size, batch, source, mode, cache, *map(_rate, (gathered, loader, step, both)), _percent(share)]
                cells += [_rate(bare), _percent(overhead(step, bare) if step and bare else None)]
                cells.append("" if share is None else name_limiter(share))
                lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def name_limiter(share: float) -> Literal["loader", "step"]:
    """What limits training that reaches `share` of what its step can do alone; loader: all that brings it batches."""
    return "loader" if share < KEEPS_UP else "step"


def overhead(step: Record, bare: Record) -> float:
    """Lightning's share of the time of its step: the median over windows that lay side by side."""
    pairs = zip(step["windows_images_per_s"], bare["windows_images_per_s"], strict=True)
    return statistics.median(1 - lightning / plain for lightning, plain in pairs)


def missed_targets(
    records: Sequence[Record], min_step: float | None, min_together: float | None, max_overhead: float | None
) -> list[str]:
    """One line for each target that the records do not reach; the flags are those of `python -m training.speed`."""
    missed = []
    first = records[0]["image_size"] if records else None
    for size in dict.fromkeys(record["image_size"] for record in records):
        here = [record for record in records if record["image_size"] == size]
        steps = {record["mode"]: record for record in here if record["measured"] == "step"}
        if not steps:
            continue
        mode, step = max(steps.items(), key=lambda item: item[1]["images_per_s"])
        rate = step["images_per_s"]
        if min_step and size == first and rate < min_step:
            missed.append(f"--min_step: {rate:,.1f} img/s at {size} px ({mode}); {min_step:,.1f} wanted")
        for record in here:
            share = record["images_per_s"] / rate
            fed = (record["measured"], record.get("cache"), record.get("mode")) == ("together", "memory", mode)
            if min_together and fed and share < min_together:
                missed.append(f"--min_together: {share:.1%} at {size} px ({mode}); {min_together:.1%} wanted")
            if max_overhead and record["measured"] == "bare":
                share = overhead(steps[record["mode"]], record)
                if share > max_overhead:
                    missed.append(
                        f"--max_overhead: {share:.1%} at {size} px ({record['mode']}); {max_overhead:.1%} wanted"
                    )
    return missed


def digits(rate: float) -> str:
    """Three digits or more."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"


def _rate(record: Record | None) -> str:
    return "" if record is None else digits(record["images_per_s"])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
