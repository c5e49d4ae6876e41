"""Rows as pandas tables: one line per row, and one line per sample (long format). Columns: docs/data.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from harness.schema import BOUNDARIES, Row

JOB = {
    "backend": "string", "variant": "string", "precision": "string", "image_size": "int64", "batch_size": "int64",
    "round": "int64",
}  # fmt: skip
ROW = {
    "run_id": "string", "started_at": "string", "arch": "string", "device": "string", "clock": "string",
    "status": "string", "reason": "string", "artifact": "string", "artifact_sha256": "string",
    "artifact_bytes": "Int64", "weights_sha256": "string", "flops_per_image": "Int64", "build_ms": "float64",
    "load_ms": "float64", "gpu_memory_mb": "float64", "cpu_memory_mb": "float64", "schema_version": "int64",
}  # fmt: skip
PARITY = {
    "images": "Int64", "max_abs": "float64", "rel_l2": "float64", "top1_agreement": "float64", "accuracy": "float64",
}  # fmt: skip
RECORDS = ("options", "versions", "same_as", "executed")  # kept as JSON text: their keys differ from row to row
SERIES = (*BOUNDARIES, "warmup_ms")


def make_rows_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per row, in their order; samples are counted here, and listed by make_samples_frame.

    Telemetry becomes columns `telemetry_<name>`, numbers as float64, anything else as text.
    """
    parts: dict[str, Any] = {name: _column((getattr(r.job, name) for r in rows), kind) for name, kind in JOB.items()}
    parts |= {name: _column((getattr(r, name) for r in rows), kind) for name, kind in ROW.items()}
    for name, kind in PARITY.items():
        values = (getattr(r.parity, name) if r.parity else None for r in rows)
        parts[f"parity_{name}"] = _column(values, kind)
    for name in RECORDS:
        parts[name] = _column((_text(getattr(r, name)) for r in rows), "string")
    parts["samples"] = _column((len(r.samples.get("device_ms", ())) for r in rows), "int64")
    for name in sorted({name for r in rows for name in r.telemetry}):
        parts[f"telemetry_{name}"] = _telemetry([r.telemetry.get(name) for r in rows])
    return pd.DataFrame(parts)


def make_samples_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per sample: the job, `series` (a boundary or warmup_ms), `sample` from 0, `value`.

    `row` is the line of make_rows_frame. Names are categories, so that millions of samples stay small.
    """
    lists = [(n, s, v) for n, row in enumerate(rows) for s, v in _series(row)]
    counts = np.array([len(values) for _, _, values in lists], dtype=np.int64)
    line = np.repeat(np.array([number for number, _, _ in lists], dtype=np.int64), counts)
    kind = np.repeat(np.array([SERIES.index(name) for _, name, _ in lists], dtype=np.int8), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    job = pd.DataFrame([asdict(row.job) for row in rows], columns=list(JOB))
    names = {n: job[n].astype("category" if JOB[n] == "string" else "int64").iloc[line].array for n in JOB}
    return pd.DataFrame(
        {
            "row": line,
            **names,
            "series": pd.Categorical.from_codes(kind, list(SERIES)),
            "sample": np.arange(counts.sum(), dtype=np.int64) - starts,
            "value": np.concatenate([np.empty(0), *(np.asarray(values, dtype=float) for _, _, values in lists)]),
        }
    )


def _series(row: Row) -> list[tuple[str, list[float]]]:
    return [(name, row.warmup_ms if name == "warmup_ms" else row.samples.get(name, [])) for name in SERIES]


def _column(values: Any, kind: str) -> pd.Series:
    return pd.Series(list(values), dtype=kind)


def _text(record: Any) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False)


def _telemetry(values: list[Any]) -> pd.Series:
    numeric = all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values)
    if numeric:
        return _column(values, "float64")
    return _column((v if v is None or isinstance(v, str) else _text(v) for v in values), "string")
