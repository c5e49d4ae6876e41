"""GPU performance metrics (NVML's GPM, Hopper and newer): how busy the parts of the chip were between two moments."""

from __future__ import annotations

import math
from collections import deque
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
PERIOD_S = 0.25
MIN_WINDOW_S = 0.1  # shorter ones have no meaning, by NVML's documentation
KEPT = 480  # two minutes; a counter state is some kB of the driver's memory


class GpmRing:
    """The last counter states of a GPU, one every PERIOD_S; empty for ever where the GPU has no such counters.

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
        inside = [(at_s, state) for at_s, state in self.states if begin_s <= at_s <= end_s]
        if not inside or inside[-1][0] - inside[0][0] <= MIN_WINDOW_S:
            return {}
        nvml = self.gpu.nvml
        request = nvml.c_nvmlGpmMetricsGet_t()
        request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(METRICS)
        request.sample1, request.sample2 = inside[0][1], inside[-1][1]
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
