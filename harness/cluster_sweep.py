"""Measures a plan on the devices of a cluster: every job ends as exactly one row, also when a machine is lost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from harness.artifacts import Model
from harness.cluster import Cluster, first_line
from harness.cluster_board import Board, Unit, make_units
from harness.cluster_files import list_checksums, pack
from harness.cluster_slots import ClusterError
from harness.commands import describe_job
from harness.config import BenchConfig
from harness.interrupt import Interrupt
from harness.plan import Group, may_share_worker
from harness.schema import Job, Row, SchemaError
from harness.store import RunFolder, utc_now
from harness.time_sheet import TimeSheet

LOOK_S = 1.0  # how soon an interruption is seen


@dataclass
class ClusterSweep:
    """What `Sweep` is on one machine. `time_sheet` adds up all devices: its wall clock is device-seconds.

    `on_ceilings`: where the machine's ceilings are wanted, who hears them; see ceilings.try_ceilings.
    """

    config: BenchConfig
    cluster: Cluster
    folder: RunFolder
    models: dict[int, Model]
    on_row: Callable[[Row], None]
    interrupt: Interrupt
    time_sheet: TimeSheet
    on_ceilings: Callable[[dict[str, Any]], None] | None = None
    clock_overhead_ms: list[float] = field(default_factory=list)
    packed: dict[int, Any] = field(default_factory=dict)

    def run(self, groups: list[Group]) -> None:
        """Measure all groups; returns early when interrupted. Raises ClusterError when no machine is left."""
        start, devices = time.monotonic(), len(self.cluster.actors)
        self.board = Board(deque(make_units(groups, partial(may_share_worker, config=self.config), devices)))
        self.calls: dict[Any, str] = {}
        self.idle_since: dict[str, float] = {}
        self.calibration, self.told = None, False
        *_, last = self.cluster.actors
        if self.on_ceilings:  # by the one that gets the smallest unit: nobody waits for it
            self._calibrate(last)
        for name in list(self.cluster.actors):
            if name not in self.calls.values():  # it may have got the unit of one that was lost at once
                self._assign(name)
        while self.calls and not self.interrupt.abandoned:
            ready, _ = self.cluster.ray.wait(list(self.calls), timeout=LOOK_S)
            for call in ready:
                name = self.calls.pop(call)
                if self.on_ceilings and call == self.calibration:
                    self.time_sheet.calibrating += time.monotonic() - start
                    self._hear_ceilings(name, call, self.on_ceilings)
                else:
                    self._hear(name, call)
            if self.interrupt.requested and not self.told:
                self._finish()
        end = time.monotonic()
        self.time_sheet.wall += devices * (end - start)
        self.time_sheet.idle += sum(end - since for since in self.idle_since.values())
        if not self.board.done and not self.interrupt.requested:
            raise ClusterError(
                f"--cluster: every machine is lost; all rows so far are kept. Go on with --resume {self.folder.run_id}"
            )

    def _assign(self, name: str) -> None:
        """Give the device its next unit, with the files that it lacks, and listen to it."""
        unit = None if self.interrupt.requested else self.board.assign(name)
        if unit is None:
            self.idle_since.setdefault(name, time.monotonic())
            return
        self.idle_since.pop(name, None)
        try:
            self._start(name, unit)
        except self.cluster.ray.exceptions.RayError as error:
            self._lose(name, first_line(error))

    def _calibrate(self, name: str) -> None:
        self.calibration = self.cluster.actors[name].measure_ceilings.remote()
        self.calls[self.calibration] = name

    def _hear_ceilings(self, name: str, call: Any, tell: Callable[[dict[str, Any]], None]) -> None:
        """Hand them on, and give the device its first unit."""
        try:
            tell({**self.cluster.ray.get(call), "machine": name})
        except self.cluster.ray.exceptions.RayError as error:
            tell({"failed": f"{name}: {first_line(error)}"})
            return self._lose(name, first_line(error))
        return self._assign(name)

    def _start(self, name: str, unit: Unit) -> None:
        ray, actor = self.cluster.ray, self.cluster.actors[name]
        for size in dict.fromkeys(job.image_size for job in unit):
            checksums = list_checksums(self.models[size])
            if not ray.get(actor.has_model.remote(size, checksums)):
                if size not in self.packed:
                    self.packed[size] = ray.put(pack(self.models[size]))
                ray.get(actor.receive.remote(self.packed[size]))
                if not ray.get(actor.has_model.remote(size, checksums)):
                    raise ray.exceptions.RayError(f"{name} did not keep the weights of {size} px")
        ray.get(actor.start.remote(unit))
        self.calls[actor.next_rows.remote()] = name

    def _hear(self, name: str, call: Any) -> None:
        """Store the row that was sent, or end the unit."""
        try:
            answer = self.cluster.ray.get(call)
            if "row" not in answer:
                return self._end_unit(name, answer)
            row = Row.from_json(answer["row"])
            series = check_series(answer.get("telemetry", {}))
            self.board.accept(name, row, self.folder.run_id, self.cluster.machine["device"])
        except self.cluster.ray.exceptions.RayError as error:
            return self._lose(name, first_line(error))
        except (SchemaError, TypeError, KeyError, AttributeError) as error:
            return self._lose(name, f"it sent what is no row of this run ({error})")
        self.folder.append_telemetry(row.job, series)
        self._write(row)
        self.calls[self.cluster.actors[name].next_rows.remote()] = name
        return None

    def _end_unit(self, name: str, answer: dict[str, Any]) -> None:
        if answer["fault"]:
            return self._lose(name, answer["fault"])
        self.board.finish(name)
        for each in fields(TimeSheet):
            if each.name != "wall":
                total = getattr(self.time_sheet, each.name) + float(answer["time_sheet"][each.name])
                setattr(self.time_sheet, each.name, total)
        self.clock_overhead_ms += [float(value) for value in answer["null_job_ms"]]
        if answer["log"]:
            path = self.folder.path / "logs" / f"{name}.log"
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(str(answer["log"]))
        return self._assign(name)

    def _lose(self, name: str, reason: str) -> None:
        """Go on without the device; what it had not answered is measured elsewhere."""
        print(f"{name} is lost: {' '.join(reason.split())}", flush=True)
        self.cluster.drop(name)
        self.idle_since[name] = time.monotonic()
        culprit = self.board.lose(name)
        if culprit is not None:
            self._record(culprit, f"the machine that measured it was lost, and so was the next ({name})", name)
        for other in self.cluster.actors:
            if other not in self.calls.values():
                self._assign(other)
                return

    def _record(self, job: Job, reason: str, name: str) -> None:
        known = describe_job(job, self.models[job.image_size], self.cluster.machine)
        row = {"run_id": self.folder.run_id, "started_at": utc_now(), "options": {"machine": name}, **known}
        self._write(Row.from_dict({**row, "status": "crashed", "reason": reason}))

    def _write(self, row: Row) -> None:
        self.folder.append(row)
        self.on_row(row)

    def _finish(self) -> None:
        """Let every device end the row in progress."""
        self.told = True
        for call, name in self.calls.items():
            if call != self.calibration:  # that device has not begun
                self.cluster.actors[name].finish.remote()


def check_series(series: dict[str, Any]) -> dict[str, Any]:
    """Columns of numbers over time, or none. Raises SchemaError, TypeError or AttributeError for anything else."""
    values = (value for column in series.values() for value in column)
    if "job" in series or not all(value is None or isinstance(value, (int, float)) for value in values):
        raise SchemaError("its telemetry is no columns of numbers")
    return series
