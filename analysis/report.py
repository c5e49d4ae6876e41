"""The report: facts of a study poured into the two templates. No sentence is written here, no number in a template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import effects, findings, stats
from analysis.cells import BASELINE
from analysis.language import LANGUAGES, Language
from analysis.markdown import environment, tidy
from analysis.names import backend_label, label_of
from analysis.saturation import TOLERANCE
from analysis.study import Study


def write_report(study: Study, figures: Sequence[str], folder: Path) -> list[Path]:
    """Write report.en.md and report.ru.md into `folder`; answers their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = gather_facts(study, figures)
    paths = []
    for code in LANGUAGES:
        path = folder / f"report.{code}.md"
        write_text(path, render(facts, code))
        paths.append(path)
    return paths


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def render(facts: dict[str, Any], code: str) -> str:
    """The report in one language, Markdown."""
    return tidy(environment(Language(code)).get_template(f"report.{code}.md").render(facts))


def gather_facts(study: Study, figures: Sequence[str]) -> dict[str, Any]:
    """Everything the templates may name; the same facts for both languages."""
    choice = effects.choose_size(study)
    sizes = effects.image_sizes(study)
    batch = effects.law_batch(study)
    overall = findings.find_fastest(study, choice.image_size) if choice else None
    quickest = findings.find_quickest(study, choice.image_size) if choice else None
    return {
        "run": _run(study),
        "plan": _plan(study),
        "method": _method(study),
        "versions": _versions(study),
        "audit": study.run.audit,
        "figures": list(figures),
        "baseline": {"label": label_of("/".join(BASELINE)), "measured": findings.has_baseline(study)},
        "choice": choice,
        "fastest": overall,
        "fastest_fp32": findings.find_fastest(study, choice.image_size, "fp32") if choice else None,
        "quickest": quickest,
        "per_size": [
            {"size": s, "fastest": findings.find_fastest(study, s), "fp32": findings.find_fastest(study, s, "fp32")}
            for s in sizes
        ],
        "standings": findings.standings(study),
        "best": findings.best_per_contender(study),
        "sizes": sizes,
        "law": {"batch": batch, "lines": effects.size_scaling(study, batch) if batch else []},
        "saturation": [{**line, "label": label_of(line["contender"])} for line in findings.lines(study.saturation)],
        "load": effects.load_of(study, overall.cell) if overall else None,
        "failures": findings.failures(study),
        "unstable": findings.failures(study, unstable=True),
        "cells": findings.lines(study.table),
        "accuracies": _accuracies(study),
    }


def _run(study: Study) -> dict[str, Any]:
    machine = study.run.machine
    gpu = machine.get("gpu") if isinstance(machine.get("gpu"), dict) else None
    cpu = machine.get("cpu") if isinstance(machine.get("cpu"), dict) else {}
    return {
        "id": study.run.run_id,
        "device": study.device,
        "is_cpu": study.device_kind == "cpu",
        "cpu": cpu,
        "gpu": gpu,
        "memory_mb": machine.get("memory_mb"),
        "os": machine.get("os"),
        "python": machine.get("python"),
        "date": min((row.started_at for row in study.run.rows), default="")[:10],
        "superseded": study.run.superseded,
        "stale_weights": list(study.run.stale_weights),
    }


def _plan(study: Study) -> dict[str, Any]:
    table = study.table
    return {
        "cells": len(table),
        "measured": int(table["ranked"].astype(bool).sum()),
        "unstable": int((table["status"] == "unstable").sum()),
        "contenders": sorted(set(table["label"])),
        "backends": [backend_label(backend) for backend in sorted(set(study.ranked["backend"]))],
        "sizes": sorted(set(table["image_size"])),
        "batches": sorted(set(table["batch_size"])),
        "rounds": max((row.job.round for row in study.run.rows), default=0),
        "samples": int(study.ranked["samples"].median()) if len(study.ranked) else 0,
        "tensorrt": any(row.job.backend in ("torch_trt", "tensorrt_engine") for row in study.run.rows),
    }


def _method(study: Study) -> dict[str, Any]:
    threads = sorted({t for row in study.run.rows if isinstance(t := row.options.get("threads"), int)})
    sources = {
        str(data["source"])
        for r in study.run.weights.values()
        if isinstance(data := r.get("data"), dict) and "source" in data
    }
    return {
        "clocks": sorted({row.clock for row in study.run.rows}),
        "threads": threads,
        "trim": stats.TRIM,
        "confidence": stats.CONFIDENCE,
        "ratio_confidence": stats.RATIO_CONFIDENCE,
        "draws": stats.DRAWS,
        "tolerance": TOLERANCE,
        "sources": sorted(sources),
        "synthetic": "builtin" in sources,
    }


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


def _accuracies(study: Study) -> list[dict[str, Any]]:
    return [
        {"size": size, "accuracy": record.get("accuracy"), "data": record.get("data") or {}}
        for size, record in sorted(study.run.weights.items())
    ]
