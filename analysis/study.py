"""A study: one run, judged. What every output (figures, events, reports) is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.accuracy import expected_accuracies
from analysis.cells import Cell, Key, build_cells, draw_ahead
from analysis.hardware import Hardware, find_hardware
from analysis.load import Run
from analysis.pareto import with_fronts
from analysis.saturation import find_saturation
from analysis.self_check import SelfCheck, find_self_check
from analysis.summary import summarise


@dataclass(frozen=True)
class Study:
    """`table`: one line per cell (summary.COLUMNS); `saturation`: one per contender and size (saturation.COLUMNS).

    Contenders measured a second time as a check are in `self_check` alone.
    """

    run: Run
    cells: Mapping[Key, Cell]
    table: pd.DataFrame
    saturation: pd.DataFrame
    self_check: SelfCheck | None = None
    hardware: Hardware = field(default_factory=Hardware)

    @property
    def ranked(self) -> pd.DataFrame:
        """The lines of `table` that are compared with others."""
        return self.table[self.table["ranked"].astype(bool)]

    @property
    def device(self) -> str:
        """Name of the processor: from machine.json, else from the rows."""
        machine: dict[str, Any] = self.run.machine
        return str(machine.get("device") or (self.run.rows[0].device if self.run.rows else "unknown"))

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`."""
        clock = self.run.rows[0].clock if self.run.rows else "cpu"
        return str(self.run.machine.get("kind") or ("cpu" if clock == "cpu" else "cuda"))


def judge(run: Run) -> Study:
    """Compute everything that is derived from a run's rows."""
    cells = build_cells(run.rows)
    draw_ahead(cells.values())
    accuracy = {size: record.get("accuracy") for size, record in run.weights.items()}
    hardware = find_hardware(run)
    table = summarise(cells, accuracy, hardware)
    table = with_fronts(table, cells, expected_accuracies(run, table))
    return Study(run, cells, table, find_saturation(cells), find_self_check(run.rows, cells), hardware)
