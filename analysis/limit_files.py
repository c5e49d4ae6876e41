"""models.json and ceilings.json of a run, checked: a roofline from half a layer would be a wrong one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.load import InputError, Run

WORK = ("flops", "input_elements", "extra_input_elements", "output_elements", "weight_elements")


def find_layers(run: Run) -> dict[int, list[dict[str, Any]]]:
    """Layers by image size, for the sizes that have any. Raises InputError naming the file and the place in it."""
    path, found = run.folder / "models.json", {}
    for size, model in run.models.items():
        _require(path, isinstance(model, dict) and str(size).isdecimal(), f"{size!r}: not a model by its image size")
        if model.get("layers"):
            _check_layers(path, str(size), model["layers"])
            found[int(size)] = model["layers"]
    return found


def find_ceilings(run: Run) -> tuple[dict[str, float], float | None]:
    """The best TFLOP/s by precision, and GB/s of copies. Raises InputError naming the file and the place in it."""
    path, tables = run.folder / "ceilings.json", []
    for name in ("matmul_tflops", "convolution_tflops"):
        table = run.ceilings.get(name) or {}
        _require(path, isinstance(table, dict) and all(map(_is_amount, table.values())), f"{name}: not numbers by name")
        tables.append(table)
    copy = run.ceilings.get("copy_gb_per_s")
    _require(path, copy is None or _is_amount(copy), "copy_gb_per_s: not a number")
    products, convolutions = tables
    return {name: max(tflops, convolutions.get(name, 0.0)) for name, tflops in products.items()}, copy


def _check_layers(path: Path, size: str, layers: Any) -> None:
    _require(path, isinstance(layers, list), f"{size}: layers: not a list")
    for number, layer in enumerate(layers, start=1):
        wrong = [name for name in WORK if not (isinstance(layer, Mapping) and _is_amount(layer.get(name)))]
        _require(path, not wrong, f"{size}: layer {number}: {', '.join(wrong)}: not a number of 0 or more")
    for name, amount in (("flops", WORK[:1]), ("elements", WORK[1:])):
        _require(path, any(layer[each] for layer in layers for each in amount), f"{size}: layers: no {name} in any")


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _require(path: Path, holds: bool, complaint: str) -> None:
    if not holds:
        raise InputError(f"{path}: {complaint}; mend this, or delete the file: the roofline is left out then")
