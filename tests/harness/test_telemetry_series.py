"""A job's telemetry over time: columns of the samples, and the line that a measured job leaves in telemetry.jsonl."""

import json
import sys
import time
from types import SimpleNamespace

import faulty
import numpy as np
import pytest
from fake_nvml import FakeNvml

from harness import cluster_device
from harness.artifacts import find_models
from harness.backends import BACKENDS
from harness.cluster import Cluster
from harness.cluster_device import Device
from harness.cluster_sweep import ClusterSweep
from harness.config import BenchConfig
from harness.gpm import GpmRing
from harness.gpu_samples import MOST_POINTS, Sample, make_series
from harness.interrupt import Interrupt
from harness.nvml import Gpu
from harness.plan import plan_groups
from harness.schema import Job
from harness.store import RunFolder
from harness.sweep import Sweep
from harness.telemetry import Telemetry
from harness.time_sheet import TimeSheet


@pytest.fixture
def fake(monkeypatch):
    """A scripted NVML in pynvml's place."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def test_samples_become_columns_over_seconds_of_the_job():
    """A reading that failed once is null, one that always fails has no column."""
    samples = [Sample(10.25, power_w=500.04, temperature_c=60), Sample(10.35, temperature_c=61)]
    assert make_series(samples, 10.0) == {"at_s": [0.25, 0.35], "power_w": [500.0, None], "temperature_c": [60, 61]}
    assert make_series([Sample(10.0)], 10.0) == make_series([], 10.0) == {}


def test_a_long_job_is_thinned_evenly():
    """An hour at ten readings a second: the bound holds, first and last stay, steps are equal to a sample."""
    samples = [Sample(0.1 * i, power_w=float(i)) for i in range(36_000)]
    series = make_series(samples, 0.0)
    assert len(series["at_s"]) == len(series["power_w"]) == MOST_POINTS
    assert (series["power_w"][0], series["power_w"][-1]) == (0.0, 35_999.0)
    assert np.ptp(np.diff(series["power_w"])) <= 1
    assert len(json.dumps(series)) < 30_000


def test_gpm_over_time_is_between_neighbouring_states(fake):
    """States at 0, 0.2, ... s: each pair inside the interval, at the later one's time."""
    ring = GpmRing(Gpu())
    for tick in range(20):
        ring.take(100 + 0.1 * tick)
    series = ring.series(100.1, 101.4)
    assert series["gpm_at_s"] == pytest.approx([0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
    assert series["sm_activity_percent"] == [20.0] * 6
    assert "imma_activity_percent" not in series
    assert ring.series(100.25, 100.35) == {}


class OneDevice:
    """Ray with one actor, in this process: a call is made when its answer is asked for."""

    class exceptions:  # noqa: N801 - Ray's name
        RayError = ZeroDivisionError

    def __init__(self, device):
        methods = ("has_model", "start", "next_rows")
        calls = {name: SimpleNamespace(remote=lambda *given, name=name: (name, given)) for name in methods}
        self.device, self.actor = device, SimpleNamespace(**calls)

    def get(self, call):
        name, given = call
        return getattr(self.device, name)(*given)

    def wait(self, calls, timeout):
        return calls, []


@pytest.mark.parametrize("in_cluster", [False, True])
@pytest.mark.usefixtures("fake")
def test_a_measured_job_leaves_its_line(weights_dir, worker_script, tmp_path, monkeypatch, in_cluster):
    """The whole way, with a worker that measures for real: readings from its start on, and the marks of its load.

    In a cluster the device's process samples, and the run's process writes.
    """
    monkeypatch.setitem(BACKENDS, "faulty", None)
    faulty.register()
    config = BenchConfig(  # warm-up outlasts the 0.1 s between two readings, so that one comes before the load
        backends=["faulty/slow"], batch_sizes=[1, 2], min_seconds=0.4, max_seconds=0.6, warmup_window_ms=150,
        self_check=False, environments={"faulty": str(worker_script)}, device="cpu",
    )  # fmt: skip
    folder, models = RunFolder(tmp_path / "run"), find_models(weights_dir, [8])
    machine = {"device": "Fake GPU", "kind": "cpu"}
    folder.create({}, machine)
    telemetry = Telemetry.open("cuda")
    sweep = Sweep(config, folder, models, machine, 1, lambda row: None, telemetry)
    if in_cluster:
        monkeypatch.setattr(cluster_device.Telemetry, "open", lambda kind: telemetry)
        ray = OneDevice(Device("there", config, "run", str(weights_dir)))
        cluster = Cluster(ray, {"there": ray.actor}, {"there": ray.device.machine})
        sweep = ClusterSweep(config, cluster, folder, models, lambda row: None, Interrupt(), TimeSheet())
    sweep.run(list(plan_groups(config, [8])))
    lines = [json.loads(line) for line in (folder.path / "telemetry.jsonl").read_text().splitlines()]
    assert [Job(**line["job"]) for line in lines] == [row.job for row in folder.read_rows()]
    for line in lines:
        begin, end = line["load_s"]
        assert 0 <= line["at_s"][0] < begin < end <= line["at_s"][-1] + 0.3
        assert set(line["power_w"]) == {700.0}
        assert len(line["at_s"]) == len(line["sm_clock_mhz"])


def test_a_row_s_memory_counts_from_where_its_series_begins(weights_dir, worker_script, tmp_path, monkeypatch):
    """The sweep tells its telemetry when it asked for the job: after loading, before the warm-up."""
    monkeypatch.setitem(BACKENDS, "faulty", None)
    faulty.register()
    config = BenchConfig(
        backends=["faulty/slow"], batch_sizes=[1], min_seconds=0.1, max_seconds=0.2, warmup_window_ms=150,
        self_check=False, environments={"faulty": str(worker_script)},
    )  # fmt: skip
    folder, models = RunFolder(tmp_path / "run"), find_models(weights_dir, [8])
    folder.create({}, {})
    telemetry = Telemetry(None)
    told = {}

    def summary(begin_s, end_s, worker_pid, images, waiting, *, asked_s):
        told.update(begin_s=begin_s, asked_s=asked_s)
        return {}

    monkeypatch.setattr(telemetry, "summary", summary)
    monkeypatch.setattr(telemetry, "series", lambda begin_s, end_s: told.update(series_s=begin_s) or {})
    machine = {"device": "Fake GPU", "kind": "cpu"}
    Sweep(config, folder, models, machine, 1, lambda row: None, telemetry).run(list(plan_groups(config, [8])))
    assert told["asked_s"] == told["series_s"] < told["begin_s"] - 0.3  # two windows of warm-up at least


def test_nothing_is_written_without_a_gpu(tmp_path):
    """No file on a CPU; a disk that is full is left to the row that follows."""
    folder = RunFolder(tmp_path / "run")
    folder.create({}, {})
    job = Job("pytorch", "eager", "fp32", 224, 1)
    now = time.monotonic()
    folder.append_telemetry(job, Telemetry.open("cpu").series(now - 1, now))
    assert not (folder.path / "telemetry.jsonl").exists()
    RunFolder(tmp_path / "gone").append_telemetry(job, {"at_s": [0.0]})
