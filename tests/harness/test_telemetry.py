"""The GPU's telemetry against a scripted NVML: exact values, what is refused, where nothing is there."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_nvml
import numpy as np
import pytest
from fake_nvml import FakeNvml, process

from harness.audit import describe_load, observe_gpu
from harness.gpm import GpmRing
from harness.gpu_samples import (
    Sample,
    find_disturbance,
    find_energy_j,
    find_gap_s,
    summarise_processes,
    summarise_state,
)
from harness.machine import describe_gpu, describe_machine
from harness.nvml import CLOCK_REASONS, Gpu, NvmlAbsent, name_clock_reasons
from harness.telemetry import Telemetry, take_sample
from tests.stage_process import SEARCH_PATH


@pytest.fixture
def install(monkeypatch):
    """Put a fake in pynvml's place."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(**options):
        fake = FakeNvml(**options)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return put


# ----- the interval's summary -----


def test_means_extremes_and_reasons_of_the_samples():
    """Means of rates, clocks and power; lowest SM clock; highest temperature; union of the reasons."""
    samples = [
        Sample(1.0, 80, 30, 1980, 3200, 500.0, 60, 0x1),
        Sample(1.1, 100, 50, 1400, 3200, 700.0, 64, 0x4),
        Sample(1.2, 99, 40, 1600, None, None, 66, 0x4),
    ]
    assert summarise_state(samples) == {
        "gpu_utilization_percent": 93.0,
        "memory_utilization_percent": 40.0,
        "sm_clock_mhz": 1660.0,
        "memory_clock_mhz": 3200.0,
        "power_w": 600.0,
        "sm_clock_min_mhz": 1400,
        "temperature_c": 66,
        "throttle_reasons": "gpu_idle,sw_power_cap",
    }


def test_nothing_read_means_no_keys():
    """Missing is absent, not zero; no reason at all is an empty text."""
    assert summarise_state([Sample(1.0), Sample(1.1)]) == {}
    assert summarise_state([Sample(1.0, clock_reasons=0)]) == {"throttle_reasons": ""}


def test_memory_is_the_worker_s_peak_and_others_are_named():
    """Only the worker's own processes are counted as its memory; others by number and program."""
    samples = [
        Sample(1.0, used_mb=3000, processes={7: 1000.0, 8: 10.0}),
        Sample(1.1, used_mb=4000, processes={7: 2000.0, 8: 20.0, 9: None}),
    ]
    names = {9: "python"}
    found = summarise_processes(samples, Sample(0.0, used_mb=500, processes={}), {7, 8}, names.get)
    assert found == {
        "gpu_process_memory_mb": 2020.0,
        "gpu_memory_source": "process",
        "other_processes": 1,
        "other_process_names": "python",
    }


def test_pids_of_another_namespace_are_compared_with_what_was_there_before():
    """A worker that cannot be told by its pid is the newcomer; its memory is the device's growth."""
    baseline = Sample(0.0, used_mb=500, processes={100: None})
    alone = [Sample(1.0, used_mb=2500, processes={100: None, 101: None})]
    assert summarise_processes(alone, baseline, {7}, str) == {
        "gpu_process_memory_mb": 2000,
        "gpu_memory_source": "device_minus_baseline",
        "other_processes": 1,
    }
    crowded = [*alone, Sample(1.1, used_mb=2400, processes={100: None, 101: None, 102: None})]
    assert summarise_processes(crowded, baseline, {7}, str)["other_processes"] == 2
    only_worker = [Sample(1.0, used_mb=2500, processes={101: None})]
    assert summarise_processes(only_worker, Sample(0.0, used_mb=500), {7}, str)["other_processes"] == 0


def test_our_workers_that_wait_are_not_others():
    """Told by their pids, or, where these are of another namespace, by their number; memory is then not known."""
    waiting = [{8, 80}, {9}]
    samples = [Sample(1.0, used_mb=4000, processes={7: 1000.0, 8: 500.0, 80: 5.0, 9: 500.0, 10: 1.0})]
    found = summarise_processes(samples, Sample(0.0, used_mb=500, processes={}), {7}, str, waiting)
    assert (found["gpu_process_memory_mb"], found["other_process_names"]) == (1000.0, "10")
    elsewhere = [Sample(1.0, used_mb=4000, processes=dict.fromkeys((100, 101, 102, 103)))]
    before = Sample(0.0, used_mb=500, processes={100: None})
    assert summarise_processes(elsewhere, before, {7}, str, waiting) == {"other_processes": 1}


def test_memory_counts_from_the_moment_the_job_was_asked_for():
    """A search of algorithms holds more than the inference that is timed; who shared the card then disturbed nothing.

    Where the driver does not list the worker, the device's growth counts from there too.
    """
    search = [Sample(0.5, used_mb=9000, processes={7: None}), Sample(0.6, used_mb=9000, processes={7: 2600.0, 9: 1.0})]
    timed = [Sample(1.0, used_mb=4000, processes={7: 931.0})]
    found = summarise_processes(timed, Sample(0.0, used_mb=500, processes={}), {7}, str, earlier=search)
    assert found == {"gpu_process_memory_mb": 2600.0, "gpu_memory_source": "process", "other_processes": 0}
    search, timed = [Sample(0.5, used_mb=9000)], [Sample(1.0, used_mb=4000)]
    found = summarise_processes(timed, Sample(0.0, used_mb=500), {7}, str, earlier=search)
    assert found == {"gpu_process_memory_mb": 8500, "gpu_memory_source": "device_minus_baseline"}


def test_without_a_process_list_others_are_unknown():
    """An empty list while the worker runs shows that the driver hides processes: not that there are none."""
    found = summarise_processes([Sample(1.0, used_mb=900, processes={})], Sample(0.0, used_mb=100), {7}, str)
    assert found == {"gpu_process_memory_mb": 800, "gpu_memory_source": "device_minus_baseline"}


def test_energy_is_interpolated_at_the_ends_as_numpy_does():
    """Readings every 0.1 s of a counter that advances unevenly."""
    at_s = 10 + 0.1 * np.arange(40)
    energy_mj = np.cumsum(np.random.default_rng(0).uniform(0, 70_000, 40))
    samples = [Sample(t, energy_mj=e) for t, e in zip(at_s, energy_mj, strict=True)]
    expected = np.diff(np.interp([10.537, 13.111], at_s, energy_mj))[0] / 1000
    assert find_energy_j(samples, 10.537, 13.111) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("interval", [(10.0, 11.9), (9.0, 12.0), (10.0, 14.1)])
def test_energy_of_short_or_unseen_intervals_is_unknown(interval):
    """Under 2 s the counter's steps weigh too much; beyond the readings nothing is known."""
    assert find_energy_j([Sample(10.0, energy_mj=1.0), Sample(14.0, energy_mj=9.0)], *interval) is None


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.95, 1.05, 1.15, 1.25, 1.35, 1.45, 1.55], 0.0),
        ([0.95, 1.05, 1.45, 1.55], 0.4),  # one hole
        ([0.7, 1.1, 1.2, 1.3, 1.4, 1.5], 0.1),  # a hole that began before: only its part inside
        ([1.1, 1.2, 1.3, 1.8], 0.2),  # and one that ends after
        ([1.19, 1.31], 0.0),  # ends within two periods of a sample
        ([], 0.5),
    ],
)
def test_gaps_are_the_parts_without_a_sample_for_two_periods(times, expected):
    """Of the interval from 1.0 to 1.5 s, at a period of 0.1 s."""
    assert find_gap_s(times, 1.0, 1.5, 0.1) == pytest.approx(expected)


# ----- the verdict -----

DISTURBING = {0x8, 0x20, 0x40, 0x80}


@pytest.mark.parametrize("bit", CLOCK_REASONS)
def test_only_slowdowns_disturb(bit):
    """Power cap, idle, set clocks and the rest are states to report; slowdowns by heat or hardware are faults."""
    verdict = find_disturbance({"throttle_reasons": name_clock_reasons(bit | 0x4)[-1], "temperature_c": 91.0})
    assert bool(verdict) == (bit in DISTURBING)
    if verdict:
        assert verdict == f"the GPU slowed itself down: {CLOCK_REASONS[bit]} at 91 C"


def test_other_processes_disturb():
    """They are counted and, where known, named."""
    assert find_disturbance({"throttle_reasons": "sw_power_cap", "other_processes": 0}) == ""
    assert find_disturbance({"other_processes": 1}) == "1 other process on the GPU"
    found = find_disturbance({"other_processes": 2, "other_process_names": "a, b"})
    assert found == "2 other processes on the GPU: a, b"


def test_reason_bits_are_those_of_the_bindings():
    """Every nvmlClocksEventReason bit of nvidia-ml-py has a name here."""
    pynvml = pytest.importorskip("pynvml")
    bits = {getattr(pynvml, name) for name in dir(pynvml) if name.startswith("nvmlClocksThrottleReason")}
    single = {bit for bit in bits if bit and bit & (bit - 1) == 0}
    assert single == set(CLOCK_REASONS)
    assert name_clock_reasons(0x10004) == ["sw_power_cap", "0x10000"]


# ----- the GPU -----


def test_the_bindings_have_every_function_and_constant_that_is_used():
    """The fake must not answer what the real package does not know."""
    pynvml = pytest.importorskip("pynvml")
    constants = [name for name in vars(fake_nvml) if name.startswith("NVML_")]
    for name in [*FakeNvml().answers, *constants, "nvmlGpmSampleAlloc", "nvmlGpmSampleFree", "c_nvmlGpmMetricsGet_t"]:
        assert hasattr(pynvml, name), name
    for name in constants:
        assert getattr(pynvml, name) == getattr(fake_nvml, name), name


def test_a_refused_reading_is_none_and_asked_for_once(install):
    """Not supported stays so; a passing failure is tried again."""
    fake = install(refused={"nvmlDeviceGetTemperature": 3, "nvmlDeviceGetUtilizationRates": 4})
    gpu = Gpu()
    for _ in range(3):
        sample = take_sample(gpu)
        assert sample.temperature_c is None
        assert sample.utilization_percent is None
        assert sample.sm_clock_mhz == 1500
    assert fake.count("nvmlDeviceGetTemperature") == 1
    assert fake.count("nvmlDeviceGetUtilizationRates") == 3


def test_everything_may_be_refused(install):
    """A card that answers nothing but its handle gives samples without values."""
    names = [name for name in FakeNvml().answers if name.startswith(("nvmlDevice", "nvmlGpm")) and "Handle" not in name]
    install(refused=dict.fromkeys(names, 3))
    gpu = Gpu()
    sample = take_sample(gpu)
    assert sample == Sample(sample.at_s)
    assert not GpmRing(gpu).supported


def test_power_and_reasons_fall_back_to_older_calls(install):
    """Momentary power, else the averaged one; clock event reasons, else throttle reasons."""
    install()
    assert Gpu().power_w() == 700.0
    install(
        refused={"nvmlDeviceGetFieldValues": 3, "nvmlDeviceGetCurrentClocksEventReasons": 13},
        nvmlDeviceGetCurrentClocksThrottleReasons=0x20,
    )
    gpu = Gpu()
    assert gpu.power_w() == 650.0
    assert gpu.clock_reasons() == 0x20


@pytest.mark.parametrize(
    ("visible", "handle"),
    [
        (None, "GPU-0abc"),
        ("1", "GPU-1abc"),
        ("1,0", "GPU-1abc"),
        ("GPU-1a", "GPU-1abc"),
        ("MIG-7", "handle of MIG-7"),
    ],
)
def test_the_first_visible_gpu_is_watched(install, monkeypatch, visible, handle):
    """CUDA_VISIBLE_DEVICES by index, by UUID (or its beginning), or a MIG instance."""
    install()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Gpu().handle == handle


@pytest.mark.parametrize("visible", ["", "-1", "GPU-9"])
def test_a_hidden_gpu_is_absent(install, monkeypatch, visible):
    """No handle is opened, NVML is let go, and the reason names the variable."""
    fake = install()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NvmlAbsent, match="CUDA_VISIBLE_DEVICES"):
        Gpu()
    assert fake.opened == 0
    assert describe_gpu() is None


def test_the_machine_s_gpu_without_what_identifies_the_card(install):
    """Units in names, unknown left out, no UUID or serial number."""
    fake = install(refused={"nvmlDeviceGetMigMode": 3})
    assert describe_gpu() == {
        "name": "Fake GPU",
        "driver": "580.1",
        "cuda_driver": "13.1",
        "count": 2,
        "memory_mb": 100_000,
        "compute_capability": "9.0",
        "power_limit_w": 700.0,
        "max_sm_clock_mhz": 1980,
        "max_memory_clock_mhz": 3201,
        "pcie_generation": 5,
        "pcie_width": 16,
    }
    assert fake.opened == 0
    assert describe_machine("auto")["kind"] == "cuda"


def test_a_busy_gpu_is_named_before_the_run(install):
    """Processes, utilisation, or memory that nobody visible holds."""
    quiet = {"processes": [], "gpu": None}
    assert describe_load(quiet) == ""
    install(nvmlDeviceGetComputeRunningProcesses=[process(5)])
    assert "program5 (on the GPU), GPU utilisation 90%" in describe_load({**quiet, "gpu": observe_gpu()})
    install(
        refused={"nvmlDeviceGetUtilizationRates": 3},
        nvmlDeviceGetMemoryInfo=fake_nvml.SimpleNamespace(total=100e9, used=30e9),
    )
    assert "30% of the GPU's memory is taken" in describe_load({**quiet, "gpu": observe_gpu()})


# ----- GPM -----


def test_gpm_metrics_lie_between_the_first_and_last_state_inside(install):
    """States every 0.2 s; those outside the interval are not used; what fails is absent."""
    fake = install()
    asked = []
    fake.answers["nvmlGpmMetricsGet"] = lambda request: (asked.append(request), fake_nvml.answer_metrics(request))
    ring = GpmRing(Gpu())
    for tick in range(20):
        ring.take(100 + 0.1 * tick)
    assert [round(at_s - 100, 1) for at_s, _ in ring.states] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8]
    assert ring.activity(100.1, 101.4) == {
        "sm_activity_percent": 20.0,
        "tensor_activity_percent": 50.0,
        "hmma_activity_percent": 70.0,
        "dram_activity_percent": 100.0,
    }
    assert (asked[0].sample1.number, asked[0].sample2.number, asked[0].version) == (2, 8, 1)
    assert ring.activity(100.25, 100.35) == {}
    ring.close()
    assert fake.states == 0


def test_gpm_memory_is_bounded_and_failures_end_it(install, monkeypatch):
    """Old states are used again; a card that refuses is not asked for ever."""
    monkeypatch.setattr("harness.gpm.KEPT", 3)
    fake = install()
    ring = GpmRing(Gpu())
    for second in range(10):
        ring.take(float(second))
    assert fake.states == len(ring.states) == 3
    fake = install(refused={"nvmlGpmSampleGet": 3})
    ring = GpmRing(Gpu())
    for second in range(10):
        ring.take(float(second))
    assert fake.count("nvmlGpmSampleGet") == 1
    assert fake.states == 0
    assert ring.activity(0.0, 9.0) == {}


# ----- the thread -----


def test_a_watched_interval_has_every_key(install):
    """A worker known by its pid, energy by a counter of 700 W, no gap; the thread ends and NVML is let go."""
    began = time.monotonic()
    fake = install(
        nvmlDeviceGetComputeRunningProcesses=[process(7, 1234)],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 700_000 * (time.monotonic() - began),
    )
    telemetry = Telemetry.open("cuda")
    telemetry.start()
    time.sleep(0.3)
    begin_s = time.monotonic()
    time.sleep(2.1)
    end_s = time.monotonic()
    found = telemetry.summary(begin_s, end_s, 7, 1000)
    telemetry.stop()
    assert not telemetry.thread.is_alive()
    assert fake.opened == fake.states == 0
    assert found.pop("energy_j_per_image") == pytest.approx(0.7 * (end_s - begin_s), rel=0.01)
    assert found.pop("telemetry_gap_s") == pytest.approx(0.0, abs=0.5)  # a busy machine may delay the thread
    assert found == {
        "gpu_utilization_percent": 90.0,
        "memory_utilization_percent": 40.0,
        "sm_clock_mhz": 1500.0,
        "sm_clock_min_mhz": 1500,
        "memory_clock_mhz": 3000.0,
        "power_w": 700.0,
        "temperature_c": 60,
        "throttle_reasons": "sw_power_cap",
        "gpu_process_memory_mb": 1234.0,
        "gpu_memory_source": "process",
        "other_processes": 0,
        "sm_activity_percent": 20.0,
        "tensor_activity_percent": 50.0,
        "hmma_activity_percent": 70.0,
        "dram_activity_percent": 100.0,
        "load_window_s": end_s - begin_s,
    }


def test_an_interval_without_a_sample_has_the_memory_read_after_it(install):
    """Its means are unknown; the worker still holds what it held."""
    install(nvmlDeviceGetComputeRunningProcesses=[process(7, 1234)])
    telemetry = Telemetry.open("cuda")
    begin_s = time.monotonic()
    found = telemetry.summary(begin_s, begin_s + 1e-6, 7, None)
    telemetry.stop()
    assert (found["gpu_process_memory_mb"], found["other_processes"]) == (1234.0, 0)
    assert "power_w" not in found


def test_a_summary_s_memory_is_that_of_the_whole_job_and_its_means_are_not(install):
    """Told when the job was asked for, it takes the worker's peak from there; all else stays over the interval."""
    install()
    telemetry = Telemetry.open("cuda")
    for at_s, mb, power_w in ((1.0, 9000.0, 90.0), (2.0, 2600.0, 100.0), (3.0, 931.0, 600.0), (4.0, 931.0, 700.0)):
        telemetry.samples.append(Sample(at_s, power_w=power_w, processes={7: mb}))
    for asked_s, memory_mb in ((1.5, 2600.0), (2.5, 931.0)):
        found = telemetry.summary(2.9, 4.0, 7, None, asked_s=asked_s)
        assert (found["gpu_process_memory_mb"], found["power_w"]) == (memory_mb, 650.0)
    telemetry.stop()


def test_the_driver_is_asked_again_only_for_what_a_summary_lacks(install):
    """A short interval with a sample needs none; energy over 2 s needs a reading after its end."""
    fake = install()
    telemetry = Telemetry.open("cuda")
    begin_s = time.monotonic()
    for interval, looks in (((begin_s, begin_s + 1), 2), ((begin_s, begin_s + 1), 2), ((begin_s - 2, begin_s + 9), 3)):
        telemetry.summary(*interval, 7, None)
        assert fake.count("nvmlDeviceGetTemperature") == looks
    telemetry.stop()


def test_a_summary_does_not_wait_for_a_driver_that_is_answering_the_thread(install):
    """Some drivers take long, and the next job would begin later for it."""
    free, asked = threading.Event(), threading.Event()

    def answer(*_):
        if threading.current_thread().name == "telemetry":
            asked.set()
            free.wait(60)
        return 60

    install(nvmlDeviceGetTemperature=answer)
    telemetry = Telemetry.open("cuda")
    begin_s = time.monotonic()
    telemetry.summary(begin_s, begin_s + 1, 7, None)
    telemetry.start()
    assert asked.wait(60)
    found = []
    reader = threading.Thread(
        target=lambda: found.append(
            (telemetry.summary(begin_s, begin_s + 1, 7, None), telemetry.series(begin_s, begin_s + 9))
        )
    )
    reader.start()
    reader.join(60)
    free.set()
    telemetry.stop()
    assert found
    assert all(found[0])


def test_children_of_the_worker_are_not_others(install):
    """A library may start a process of its own on the GPU."""
    install(nvmlDeviceGetComputeRunningProcesses=[process(os.getpid(), 1), process(os.getppid(), 1)])
    telemetry = Telemetry.open("cuda")
    begin_s = time.monotonic()
    found = telemetry.summary(begin_s, begin_s + 60, os.getppid(), None)
    telemetry.stop()
    assert found["other_processes"] == 0
    assert found["gpu_process_memory_mb"] == 2.0


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_without_nvml_nothing_happens_and_the_reason_is_known(install, kind):
    """No driver, or a run on the CPU: every call is harmless."""
    install(refused={"nvmlInit": 9})
    threads = threading.active_count()
    telemetry = Telemetry.open(kind)
    telemetry.start()
    assert telemetry.summary(0.0, 10.0, 7, 1000) == {}
    assert threading.active_count() == threads
    telemetry.stop()
    assert telemetry.absent == {"cpu": "the run is on the CPU", "cuda": "no NVIDIA driver answers (NVML error 9)"}[kind]


def test_a_missing_package_is_a_reason(monkeypatch):
    """`import pynvml` fails."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Telemetry.open("cuda").absent == "the package nvidia-ml-py is not installed"
    assert describe_gpu() is None


WATCHER = """
import resource, sys, time
from fake_nvml import FakeNvml
sys.modules["pynvml"] = FakeNvml()
from harness.telemetry import Telemetry
telemetry = Telemetry.open("cuda")
before = time.process_time()
telemetry.start()
time.sleep(3)
print(100 * (time.process_time() - before) / 3, len(telemetry.samples))
"""


def test_the_thread_is_cheap_and_lets_its_process_end():
    """A few % of a core at most with a fake driver; a process that never calls `stop` ends all the same."""
    environment = {**os.environ, "PYTHONPATH": f"{SEARCH_PATH}{os.pathsep}{Path(__file__).parent}"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-c", WATCHER]
    printed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    percent, samples = map(float, printed.split())
    assert percent < 5.0
    assert samples > 10


@pytest.mark.gpu
def test_a_real_gpu_is_read():
    """The readings that every data-centre card gives."""
    telemetry = Telemetry.open("cuda")
    if telemetry.absent:
        pytest.skip(telemetry.absent)
    telemetry.start()
    begin_s = time.monotonic()
    time.sleep(0.5)
    found = telemetry.summary(begin_s, time.monotonic(), os.getpid(), None)
    telemetry.stop()
    assert 0 < found["power_w"] < 2000
    assert 0 < found["temperature_c"] < 120
    assert found["sm_clock_mhz"] > 0
    assert found["telemetry_gap_s"] < 0.5
