"""Watches the GPU from the parent process while a worker measures: one thread, one look every 0.1 s.

See docs/decisions/telemetry.md for what each reading means.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any

import psutil

from harness.gpm import GpmRing
from harness.gpu_samples import (
    ENERGY_WINDOW_S,
    Sample,
    find_energy_j,
    find_gap_s,
    make_series,
    summarise_processes,
    summarise_state,
)
from harness.nvml import Gpu, NvmlAbsent

PERIOD_S = 0.1
KEPT = 9000  # samples: 15 minutes


class Telemetry:
    """Samples of one GPU. Without one (`absent` says why) every method does nothing and `summary` is empty.

    Open it before the first worker starts: what is on the GPU then is not the worker's.
    """

    def __init__(self, gpu: Gpu | None, absent: str = "", period_s: float = PERIOD_S) -> None:
        self.gpu = gpu
        self.absent = absent
        self.period_s = period_s
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.looking = threading.Lock()  # one look at a time, so that samples ascend; a driver may take tens of ms
        self.lock = threading.Lock()  # of `samples`, and of nothing that asks the driver: `summary` is not to wait
        self.gpm_lock = threading.Lock()
        self.ended = threading.Event()
        if gpu is not None:
            self.thread = threading.Thread(target=self._watch, args=(gpu,), name="telemetry", daemon=True)
            self.gpm = GpmRing(gpu)
            self.baseline = take_sample(gpu)

    @classmethod
    def open(cls, kind: str) -> Telemetry:
        """Telemetry for a run on `kind` (cpu or cuda)."""
        if kind != "cuda":
            return cls(None, "the run is on the CPU")
        try:
            return cls(Gpu())
        except NvmlAbsent as error:
            return cls(None, str(error))

    def start(self) -> None:
        """Begin to watch; the thread does not keep the process alive."""
        if self.gpu is not None:
            self.thread.start()

    def stop(self) -> None:
        """End the thread and let go of NVML."""
        if self.gpu is None or self.ended.is_set():
            return
        self.ended.set()
        if self.thread.ident is not None:
            self.thread.join(timeout=5)
        if not self.thread.is_alive():  # one that hangs in the driver still uses what would be freed
            self.gpm.close()
            self.gpu.close()

    def summary(
        self,
        begin_s: float,
        end_s: float,
        worker_pid: int,
        images: int | None,
        waiting: Collection[int] = (),
        *,
        asked_s: float = math.inf,
    ) -> dict[str, Any]:
        """What the GPU did from `begin_s` to `end_s` (time.monotonic), while a worker inferred `images` images.

        `waiting`: pids of our other workers, which hold memory on the GPU and do nothing. `asked_s`: when the job was
        asked for; the worker's peak of memory counts from there, as all that it took before sampling is its need too.
        Keys are those of Row.telemetry; what could not be read is absent. Call it soon: samples are kept for 15 min,
        GPM's counters for 2 min.
        """
        if self.gpu is None:
            return {}
        samples = self._read()
        if not samples or samples[-1].at_s < (end_s if end_s - begin_s >= ENERGY_WINDOW_S else begin_s):
            self._look(self.gpu)  # the energy counter needs a reading after the interval's end
            samples = self._read()
        with self.gpm_lock:
            activity = self.gpm.activity(begin_s, end_s)
        inside = [sample for sample in samples if begin_s <= sample.at_s <= end_s]
        held = [sample for sample in samples if sample.at_s >= begin_s]  # and after: it may be short
        earlier = [sample for sample in samples if asked_s <= sample.at_s < begin_s]
        seen = {pid for sample in [*earlier, *held] for pid in sample.processes or ()}
        own = find_family(worker_pid) if seen - {worker_pid} else {worker_pid}
        ours = [find_family(pid) for pid in waiting]
        found = {
            **summarise_state(inside),
            **summarise_processes(held, self.baseline, own, self.gpu.process_name, ours, earlier=earlier),
            **activity,
            "load_window_s": end_s - begin_s,
            "telemetry_gap_s": find_gap_s([sample.at_s for sample in samples], begin_s, end_s, self.period_s),
        }
        energy_j = find_energy_j(samples, begin_s, end_s)
        if energy_j is not None and images:
            found["energy_j_per_image"] = energy_j / images
        return found

    def series(self, begin_s: float, end_s: float) -> dict[str, list[Any]]:
        """The samples from `begin_s` to `end_s` as columns over time; empty without a GPU. See docs/data.md."""
        if self.gpu is None:
            return {}
        samples = self._read()
        with self.gpm_lock:
            activity = self.gpm.series(begin_s, end_s)
        return {**make_series([sample for sample in samples if begin_s <= sample.at_s <= end_s], begin_s), **activity}

    def _read(self) -> list[Sample]:
        with self.lock:
            return list(self.samples)

    def _watch(self, gpu: Gpu) -> None:
        while not self.ended.wait(self.period_s):
            self._look(gpu)

    def _look(self, gpu: Gpu) -> None:
        with self.looking:
            sample = take_sample(gpu)
            with self.lock:
                self.samples.append(sample)
            with self.gpm_lock:
                self.gpm.take(time.monotonic())


def take_sample(gpu: Gpu) -> Sample:
    """One look at everything; its moment is that of the energy counter's reading, which others follow within ms."""
    nvml = gpu.nvml
    energy_mj, at_s = gpu.read("nvmlDeviceGetTotalEnergyConsumption"), time.monotonic()
    rates = gpu.read("nvmlDeviceGetUtilizationRates")
    memory = gpu.read("nvmlDeviceGetMemoryInfo")
    return Sample(
        at_s,
        energy_mj=energy_mj,
        utilization_percent=None if rates is None else rates.gpu,
        memory_utilization_percent=None if rates is None else rates.memory,
        sm_clock_mhz=gpu.read("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        memory_clock_mhz=gpu.read("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
        power_w=gpu.power_w(),
        temperature_c=gpu.read("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        clock_reasons=gpu.clock_reasons(),
        used_mb=None if memory is None else memory.used / 1e6,
        processes=gpu.processes(),
    )


def find_family(pid: int) -> set[int]:
    """A process and what it started, while it lives."""
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:
        return {pid}
