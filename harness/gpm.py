"""GPU performance metrics (NVML's GPM, Hopper and newer): how busy the parts of the chip were between two moments."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import Any

from harness.nvml import Gpu

# NVML_GPM_METRIC_*: % of the time, or of the possible bandwidth
METRICS = {
    "sm_activity_percent": 2,
    "tensor_activity_percent": 5,
    "hmma_activity_percent": 7,
    "imma_activity_percent": 9,
    "dram_activity_percent": 10,
}
PERIOD_S = 0.15  # telemetry ticks every 0.1 s, so one every 0.2 s: two in any window of half a second
MIN_WINDOW_S = 0.1  # shorter ones have no meaning, by NVML's documentation
KEPT = 600  # two minutes; a counter state is some kB of the driver's memory


class GpmRing:
    """The last counter states of a GPU, one every PERIOD_S or soon after; empty where the GPU has no such counters.

    Not thread-safe: its owner locks.
    """

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.states: deque[tuple[float, Any]] = deque()
        support = gpu.read("nvmlGpmQueryDeviceSupport")
        self.supported = support is not None and bool(support.isSupportedDevice)

    def take(self, now_s: float) -> None:
        """Keep the counters' state, unless the last one is younger than PERIOD_S."""
        if not self.supported or (self.states and now_s - self.states[-1][0] < PERIOD_S):
            return
        nvml = self.gpu.nvml
        try:
            state = self.states.popleft()[1] if len(self.states) >= KEPT else nvml.nvmlGpmSampleAlloc()
        except nvml.NVMLError:
            self.supported = False
            return
        if self.gpu.read("nvmlGpmSampleGet", state) is None:
            nvml.nvmlGpmSampleFree(state)
            self.supported = "nvmlGpmSampleGet" not in self.gpu.refused
            return
        self.states.append((now_s, state))

    def activity(self, begin_s: float, end_s: float) -> dict[str, float]:
        """METRICS in % between the first and the last state of the interval; {} when they are too close together."""
        inside = self._inside(begin_s, end_s)
        return self._between(inside[0], inside[-1]) if inside else {}

    def series(self, begin_s: float, end_s: float) -> dict[str, list[float]]:
        """METRICS in % between each two states of the interval that follow one another; `gpm_at_s` is the later one's.

        Times count from `begin_s`. A metric that any pair lacks is absent.
        """
        inside = self._inside(begin_s, end_s)
        found = [(later[0] - begin_s, self._between(earlier, later)) for earlier, later in pairwise(inside)]
        found = [(at_s, values) for at_s, values in found if values]
        if not found:
            return {}
        names = [name for name in METRICS if all(name in values for _, values in found)]
        columns = {name: [round(values[name], 1) for _, values in found] for name in names}
        return {"gpm_at_s": [round(at_s, 3) for at_s, _ in found], **columns}

    def _inside(self, begin_s: float, end_s: float) -> list[tuple[float, Any]]:
        return [(at_s, state) for at_s, state in self.states if begin_s <= at_s <= end_s]

    def _between(self, first: tuple[float, Any], last: tuple[float, Any]) -> dict[str, float]:
        if last[0] - first[0] <= MIN_WINDOW_S:
            return {}
        nvml = self.gpu.nvml
        request = nvml.c_nvmlGpmMetricsGet_t()
        request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(METRICS)
        request.sample1, request.sample2 = first[1], last[1]
        for index, number in enumerate(METRICS.values()):
            request.metrics[index].metricId = number
        try:
            nvml.nvmlGpmMetricsGet(request)
        except nvml.NVMLError:
            return {}
        answers = zip(METRICS, request.metrics, strict=False)  # the array is as long as NVML has metrics
        return {name: m.value for name, m in answers if m.nvmlReturn == nvml.NVML_SUCCESS and math.isfinite(m.value)}

    def close(self) -> None:
        """Give the driver its memory back."""
        while self.states:
            self.gpu.nvml.nvmlGpmSampleFree(self.states.pop()[1])
