"""A module like pynvml: a Hopper-like GPU with scripted answers. Records the calls, and refuses what it is told."""

from types import SimpleNamespace

NVML_SUCCESS = 0
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
NVML_FI_DEV_POWER_INSTANT = 186
NVML_GPM_METRICS_GET_VERSION = 1


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(f"NVML error {value}")
        self.value = value


class FakeNvml:
    """Give it to sys.modules as `pynvml`. `refused`: error code by function name; `answers`: value by function name."""

    def __init__(self, refused=None, **answers):
        self.calls = []
        self.opened = self.states = 0
        self.refused = refused or {}
        self.answers = {
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetName": "Fake GPU",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=90, memory=40),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=100e9, used=1e9),
            "nvmlDeviceGetClockInfo": lambda handle, clock: {1: 1500, 2: 3000}[clock],
            "nvmlDeviceGetMaxClockInfo": lambda handle, clock: {1: 1980, 2: 3201}[clock],
            "nvmlDeviceGetPowerUsage": 650_000,
            "nvmlDeviceGetFieldValues": [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=700_000))],
            "nvmlDeviceGetTemperature": 60,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4,
            "nvmlDeviceGetTotalEnergyConsumption": 5_000_000,
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlSystemGetProcessName": lambda pid: f"/opt/somewhere/program{pid}",
            "nvmlSystemGetDriverVersion": "580.1",
            "nvmlSystemGetCudaDriverVersion_v2": 13010,
            "nvmlDeviceGetCudaComputeCapability": (9, 0),
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetMaxPcieLinkGeneration": 5,
            "nvmlDeviceGetMaxPcieLinkWidth": 16,
            "nvmlDeviceGetHandleByIndex": lambda index: f"GPU-{index}abc",
            "nvmlDeviceGetHandleByUUID": lambda uuid: f"handle of {uuid}",
            "nvmlDeviceGetUUID": lambda handle: handle,
            "nvmlGpmQueryDeviceSupport": SimpleNamespace(isSupportedDevice=1),
            "nvmlGpmSampleGet": lambda handle, state: state,
            "nvmlGpmMetricsGet": answer_metrics,
            **answers,
        }

    def __getattr__(self, name):
        """Constants of this file, or a function that answers as scripted."""
        if name in globals() and name != "FakeNvml":
            return globals()[name]
        if name not in self.answers:
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, *arguments))
            if name in self.refused:
                raise NVMLError(self.refused[name])
            answer = self.answers[name]
            return answer(*arguments) if callable(answer) else answer

        return call

    def nvmlInit(self):  # noqa: N802
        if "nvmlInit" in self.refused:
            raise NVMLError(self.refused["nvmlInit"])
        self.opened += 1

    def nvmlShutdown(self):  # noqa: N802
        self.opened -= 1

    def nvmlGpmSampleAlloc(self):  # noqa: N802
        self.states += 1
        return SimpleNamespace(number=self.states)

    def nvmlGpmSampleFree(self, state):  # noqa: N802
        self.states -= 1

    def c_nvmlGpmMetricsGet_t(self):  # noqa: N802
        metrics = [SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0) for _ in range(20)]
        return SimpleNamespace(version=0, numMetrics=0, sample1=None, sample2=None, metrics=metrics)

    def count(self, name):
        return sum(call[0] == name for call in self.calls)


def answer_metrics(request):
    """Ten times the metric's number, in %; IMMA (9) cannot be had."""
    for metric in request.metrics[: request.numMetrics]:
        metric.value = 10.0 * metric.metricId
        metric.nvmlReturn = NVML_ERROR_NOT_SUPPORTED if metric.metricId == 9 else NVML_SUCCESS


def process(pid, mb=None):
    return SimpleNamespace(pid=pid, usedGpuMemory=None if mb is None else mb * 1e6)
