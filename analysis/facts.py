"""Everything the report templates may name. Optional files (machine, audit) become full records."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from analysis import effects, findings, stats
from analysis.load_facts import hardware_facts
from analysis.names import backend_label, label_of, network_label
from analysis.saturation import TOLERANCE
from analysis.scaling_facts import scaling_facts
from analysis.standings import find_doubtful_baselines, find_standings
from analysis.study import Study
from harness.schema import AGAIN, BASELINE

CARD = re.compile(r"\.\d+$")  # of a device's name, where its machine has several
NAMED_CLASSES = 10  # in the text of a report
AUDIT = ("noise_floor_percent", "noise_worst_percent", "null_job_ms", "parent_cpu_percent")
APART = {"variant": "variant", "backend": "backend"}  # what has a process of its own, by the run's `order`
LOUD_PERCENT = 5.0  # a noise floor above this is said in the answer itself
LOAD_COLUMNS = (
    "worker_cpu_percent",
    "enqueue_ms",
    "gpu_process_memory_mb",
    "power_w",
    "sm_clock_mhz",
    "temperature_c",
    "throttle_reasons",
    "tflops_per_s",
)


def gather_facts(study: Study, figures: Sequence[str]) -> dict[str, Any]:
    """The facts of a study, the same for both languages; `figures` are the names of those drawn."""
    choice = effects.choose_size(study)
    sizes = effects.image_sizes(study)
    batch = effects.law_batch(study)
    fastest = findings.find_fastest(study, choice.image_size) if choice else None
    best = findings.best_per_contender(study)
    chosen = [line for line in best if choice and line["image_size"] == choice.image_size]
    audit = _audit(study)
    return {
        "run": _run(study),
        "network": _network(study),
        "plan": _plan(study),
        "method": _method(study),
        "versions": _versions(study),
        "audit": audit,
        "shaky": _is_shaky(study, audit),
        "figures": list(figures),
        "baseline": {"label": label_of("/".join(BASELINE)), "measured": findings.has_baseline(study)},
        "choice": choice,
        "fastest": fastest,
        "fastest_fp32": findings.find_fastest(study, choice.image_size, "fp32") if choice else None,
        "quickest": findings.find_quickest(study, choice.image_size) if choice else None,
        "loss": findings.accuracy_loss(study, fastest.cell) if fastest else None,
        "per_size": [
            {"size": s, "fastest": findings.find_fastest(study, s), "fp32": findings.find_fastest(study, s, "fp32")}
            for s in sizes
        ],
        "standings": find_standings(study),
        "doubtful": find_doubtful_baselines(study),
        "best": best,
        "contest": _contest(best, fastest),
        "sizes": sizes,
        "law": {"batch": batch, "lines": effects.size_scaling(study, batch) if batch else []},
        "saturation": [{**line, "label": label_of(line["contender"])} for line in findings.lines(study.saturation)],
        "load": effects.load_of(study, fastest.cell) if fastest else None,
        "telemetry": _telemetry(chosen),
        "hardware": hardware_facts(study, chosen),
        "failures": findings.failures(study),
        "unstable": findings.failures(study, unstable=True),
        "cells": findings.lines(study.table),
        **scaling_facts(study, choice.image_size if choice else None),
    }


def _contest(best: list[findings.Line], fastest: findings.Winner | None) -> list[findings.Line]:
    """What the answer's table shows: the best of each library, and whatever ties with the winner."""
    if fastest is None:
        return []
    tied = {rival.line["contender"] for rival in fastest.ties}
    return findings.best_per_library(best, fastest.cell["image_size"], tied)


def _record(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _finite(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _run(study: Study) -> dict[str, Any]:
    machine = study.run.machine
    cpu, gpu = _record(machine.get("cpu")), _record(machine.get("gpu"))
    cores, features = cpu.get("physical_cores"), cpu.get("features")
    return {
        "id": study.run.run_id,
        "device": study.device,
        "is_cpu": study.device_kind == "cpu",
        "cpu_name": cpu.get("name") if cpu.get("name") != study.device else None,
        "cores": cores if isinstance(cores, int) else None,
        "features": [str(name) for name in features] if isinstance(features, list) else [],
        "driver": gpu.get("driver"),
        "memory_mb": _finite(machine.get("memory_mb")),
        "os": machine.get("os"),
        "date": min((row.started_at for row in study.run.rows), default="")[:10],
        "superseded": study.run.superseded,
        "stale_weights": list(study.run.stale_weights),
    }


def _network(study: Study) -> dict[str, Any]:
    """What was timed: its name, and for other data than the built-in images its classes and normalisation."""
    records = [
        record for record in study.run.weights.values() if _record(record.get("data")).get("source") != "builtin"
    ]
    first = records[0] if records else {}
    classes, scale = first.get("classes"), _record(first.get("normalization"))
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    known = isinstance(scale.get("mean"), list) and isinstance(scale.get("std"), list)
    return {
        "label": network_label(study.run.arch),
        "classes": len(names),
        "names": names[:NAMED_CLASSES],
        "mean": scale["mean"] if known else [],
        "std": scale["std"] if known else [],
    }


def _plan(study: Study) -> dict[str, Any]:
    table = study.table
    return {
        "cells": len(table),
        "measured": int(table["ranked"].astype(bool).sum()),
        "unstable": int((table["status"] == "unstable").sum()),
        "backends": [backend_label(backend) for backend in sorted(set(study.ranked["backend"]))],
        "sizes": sorted(set(table["image_size"])),
        "batches": sorted(set(table["batch_size"])),
        "rounds": max((row.job.round for row in study.run.rows), default=0),
        "samples": int(study.ranked["samples"].median()) if len(study.ranked) else 0,
        "process": APART.get(str(study.run.config.get("order")), "approach"),
        "unfinished": _find_unfinished(study),
        "devices": len({row.options.get("machine") for row in study.run.rows}),
        "sizes_apart": _sizes_apart(study),
        "shared_host": _share_host(study),
        "tensorrt": any(row.job.backend in ("torch_trt", "tensorrt_engine") for row in study.run.rows),
    }


def _sizes_apart(study: Study) -> bool:
    """Whether all that a round has at one image size is of one device, where a run had several."""
    seen: dict[tuple[int, int], set[str | None]] = {}
    for row in study.run.rows:
        seen.setdefault((row.job.round, row.job.image_size), set()).add(row.options.get("machine"))
    return all(len(devices) == 1 for devices in seen.values())


def _share_host(study: Study) -> bool:
    """Whether two devices of a run are of one machine: their names are its own and a number (harness.cluster_slots)."""
    devices = {row.options.get("machine") or "" for row in study.run.rows}
    return len({CARD.sub("", name) for name in devices}) < len(devices)


def _find_unfinished(study: Study) -> tuple[int, int] | None:
    """Jobs that ended and jobs that were planned, where the run was stopped between the two."""
    planned, done = _finite(study.run.audit.get("planned_jobs")), len({row.job for row in study.run.rows})
    return (done, int(planned)) if planned and planned > done else None


def _method(study: Study) -> dict[str, Any]:
    threads = {t for row in study.run.rows if isinstance(t := row.options.get("threads"), int)}
    sources = {_record(record.get("data")).get("source") for record in study.run.weights.values()}
    return {
        "clocks": sorted({row.clock for row in study.run.rows}),
        "threads": sorted(threads),
        "trim": stats.TRIM,
        "confidence": stats.CONFIDENCE,
        "ratio_confidence": stats.RATIO_CONFIDENCE,
        "draws": stats.DRAWS if all(cell.resampled for cell in study.cells.values()) else None,
        "spreads": [
            {
                "prior": prior,
                "found": found,
                "corrected": not math.isclose(found, prior),  # as process_spread leaves it without repeats
                "short_ms": stats.SHORT_MS if short else None,
            }
            for short, prior in ((False, stats.PRIOR_SPREAD), (True, stats.PRIOR_SPREAD_SHORT))
            if (found := next((c.spread for c in study.cells.values() if c.ranked and c.is_short is short), None))
        ],
        "tolerance": TOLERANCE,
        "synthetic": "builtin" in sources,
    }


def _audit(study: Study) -> dict[str, Any] | None:
    """What the run says of itself; None when it says nothing. Missing values are None.

    The ratio of a contender to itself is computed from its rows; audit.json speaks only where there are no such rows.
    """
    audit, check = study.run.audit, study.self_check
    if not audit and check is None:
        return None
    if check is not None:
        ratio = {"ratio": check.ratio, "low": check.low, "high": check.high}
        noise = {"noise_floor_percent": check.noise_floor_percent, "noise_worst_percent": check.worst_percent}
        audit = {**audit, **noise, "self_ratio": ratio}
    ratio, sheet, load = (_record(audit.get(name)) for name in ("self_ratio", "time_sheet_s", "load_before"))
    busy = load.get("processes")
    wall, measuring = _finite(sheet.get("wall")), _finite(sheet.get("measuring"))
    return {
        **{name: _finite(audit.get(name)) for name in AUDIT},
        **{f"self_{name}": _finite(ratio.get(name)) for name in ("ratio", "low", "high")},
        "self_cells": check.cells if check else None,
        "twice": _find_twice(study),
        "busy": [_busy(process) for process in busy] if isinstance(busy, list) else [],
        "wall_s": wall,
        "measuring_share": measuring / wall if wall and measuring is not None else None,
    }


def _find_twice(study: Study) -> str | None:
    """What was measured a second time as a check; None where no row says."""
    names = {row.job.contender.replace(AGAIN, "") for row in study.run.rows if row.job.variant.endswith(AGAIN)}
    return ", ".join(label_of(name) for name in sorted(names)) or None


def _is_shaky(study: Study, audit: dict[str, Any] | None) -> bool:
    """Whether a reader must be warned first: most measured cells are unstable, or the noise floor is high."""
    floor = audit["noise_floor_percent"] if audit else None
    unstable = int((study.ranked["status"] == "unstable").sum())
    return 2 * unstable > len(study.ranked) or (floor is not None and floor > LOUD_PERCENT)


def _busy(process: Any) -> dict[str, Any]:
    record = _record(process)
    return {"name": str(record.get("name")), "share": (_finite(record.get("cpu_percent")) or 0.0) / 100}


def _telemetry(best: list[findings.Line]) -> dict[str, Any]:
    """Load columns that hold anything, for each contender at its best batch."""
    columns = [name for name in LOAD_COLUMNS if any(_shown(line.get(name)) is not None for line in best)]
    return {
        "columns": columns,
        "lines": [{"label": line["label"], "readings": [_shown(line.get(name)) for name in columns]} for line in best],
    }


def _shown(value: Any) -> float | str | None:
    return value if isinstance(value, str) and value else _finite(value)


def _versions(study: Study) -> list[dict[str, Any]]:
    found: dict[str, dict[str, set[str]]] = {}
    for row in study.run.rows:
        names = found.setdefault(row.job.backend, {})
        for name, version in row.versions.items():
            names.setdefault(name, set()).add(str(version))
    return [
        {"backend": backend_label(b), "versions": [f"{n} {', '.join(sorted(v))}" for n, v in sorted(names.items())]}
        for b, names in sorted(found.items())
        if names
    ]
