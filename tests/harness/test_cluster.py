"""A sweep on a cluster: every job ends as exactly one row, whatever machines do. With a fake of Ray, and with Ray."""

import json
from collections import deque
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from conftest import ROOT

from harness.artifacts import find_models
from harness.audit import describe_load
from harness.cluster import Cluster
from harness.cluster_slots import ClusterError
from harness.cluster_sweep import ClusterSweep
from harness.config import BenchConfig
from harness.interrupt import Interrupt
from harness.plan import Group
from harness.schema import Job, Row
from harness.store import RunFolder
from harness.time_sheet import TimeSheet

MACHINE = {"device": "fake", "kind": "cpu"}


def jobs_of(variant, *batches, size=8):
    return [Job("faulty", variant, "fp32", size, batch) for batch in batches]


class LostError(Exception):
    """What Ray raises for an actor that is gone."""


class Method:
    def __init__(self, function):
        self.function = function

    def remote(self, *arguments):
        return lambda: self.function(*arguments)


class FakeActor:
    """Answers `rows` for each unit it gets; a value that is an exception is raised instead."""

    def __init__(self, name, script=lambda job, row: row):
        self.name, self.script, self.started, self.left = name, script, [], deque()
        self.ceilings, self.telemetry = {"copy_gb_per_s": 1.0}, {}
        for method in ("has_model", "receive", "start", "next_rows", "finish", "measure_ceilings"):
            setattr(self, method, Method(getattr(self, f"_{method}")))

    def _has_model(self, size, checksums):
        return True

    def _receive(self, files):
        raise AssertionError

    def _start(self, jobs):
        self.started.append(jobs)
        self.left = deque(jobs)

    def _finish(self):
        self.left.clear()

    def _measure_ceilings(self):
        if self.ceilings is None:
            raise LostError("gone")
        return self.ceilings

    def _next_rows(self):
        if not self.left:
            return {"fault": "", "log": "", "time_sheet": vars(TimeSheet(measuring=1.0)), "null_job_ms": [0.001]}
        job = self.left.popleft()
        row = Row("run", "2026-01-01T00:00:00Z", job, "fake", "cpu", "crashed", "fake", options={"machine": self.name})
        answer = self.script(job, json.loads(row.to_json()))
        if isinstance(answer, Exception):
            raise answer
        row = answer if isinstance(answer, str) else json.dumps(answer)
        return {"row": row, "telemetry": self.telemetry} if self.telemetry else {"row": row}


class FakeRay:
    """Calls are made when they are waited for, first come first served."""

    class exceptions:  # noqa: N801 - Ray's name
        RayError = LostError

    def __init__(self):
        self.killed = []

    def get(self, call):
        return call()

    def put(self, value):
        return value

    def wait(self, calls, timeout=None):
        return calls[:1], calls[1:]

    def kill(self, actor):
        self.killed.append(actor.name)


@pytest.fixture
def sweep(tmp_path, weights_dir):
    """Build a sweep over fake actors; keeps rows in a folder."""

    def build(*actors):
        cluster = Cluster(FakeRay(), {a.name: a for a in actors}, {a.name: MACHINE for a in actors})
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        models = find_models(weights_dir, [8])
        return ClusterSweep(BenchConfig(), cluster, folder, models, lambda row: None, Interrupt(), TimeSheet())

    return build


GROUPS = [Group(tuple(jobs_of(variant, 1, 2, 4))) for variant in ("fine", "slow", "again", "exit")]
PLANNED = sorted(map(str, (job for group in GROUPS for job in group.jobs)))


def stored(sweep):
    return sorted(str(row.job) for row in sweep.folder.read_rows())


def test_groups_are_spread_over_machines_and_each_job_has_one_row(sweep):
    """Two machines, four groups; what the sweeps say of themselves adds up."""
    a, b = FakeActor("a"), FakeActor("b")
    measured = sweep(a, b)
    measured.run(GROUPS)
    assert stored(measured) == PLANNED
    assert len(a.started) + len(b.started) == 4
    assert min(len(a.started), len(b.started)) >= 1
    assert measured.time_sheet.measuring == 4.0
    assert len(measured.clock_overhead_ms) == 4


@pytest.mark.parametrize(("names", "begun"), [("ab", [1, 0]), ("a", [0])])
def test_the_device_with_the_smallest_unit_measures_the_ceilings_while_the_others_begin(sweep, names, begun):
    """And then its unit; alone, it measures them first."""
    actors, heard = [FakeActor(name) for name in names], []
    measured = sweep(*actors)
    measured.on_ceilings = lambda ceilings: heard.append((ceilings, [len(actor.started) for actor in actors]))
    measured.models |= {16: measured.models[8]}
    measured.run([Group(tuple(jobs_of("fine", 1, 2, size=size))) for size in (8, 16)])
    assert heard == [({"copy_gb_per_s": 1.0, "machine": names[-1]}, begun)]
    assert actors[-1].started[0][0].image_size == 8
    assert len(stored(measured)) == 4
    assert measured.time_sheet.calibrating > 0


@pytest.mark.parametrize("script", [lambda job, row: row, lambda job, row: LostError("gone")], ids=["fine", "lost"])
def test_a_device_with_nothing_to_do_is_idle_on_the_time_sheet(sweep, script):
    """One group for two devices: half of their seconds, also where the other one is lost and takes it over."""
    measured = sweep(FakeActor("a", script), FakeActor("b"))
    measured.run(GROUPS[:1])
    assert 0.4 < measured.time_sheet.idle / measured.time_sheet.wall <= 0.5


def test_a_device_that_is_lost_while_it_measures_the_ceilings_costs_nothing_else(sweep):
    """The reason is told, the other device measures everything."""
    a, b, heard = FakeActor("a"), FakeActor("b"), []
    b.ceilings = None
    measured = sweep(a, b)
    measured.on_ceilings = heard.append
    measured.run(GROUPS)
    assert heard == [{"failed": "b: gone"}]
    assert (stored(measured), measured.cluster.ray.killed) == (PLANNED, ["b"])


def fail_at(batch, answer):
    return lambda job, row: answer if job.batch_size == batch else row


BAD_ANSWERS = {
    "lost": LostError("the node died"),
    "no JSON": "{",
    "another schema": json.dumps({"schema_version": 99}),
    "no mapping": "[1]",
    "another run": lambda row: row | {"run_id": "other"},
    "another machine's name": lambda row: row | {"options": {"machine": "b"}},
    "another device": lambda row: row | {"device": "H200"},
    "a field more": lambda row: row | {"extra": 1},
    "a job not asked for": lambda row: row | {"job": row["job"] | {"batch_size": 1024}},
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_machine_that_is_lost_or_sends_no_row_costs_its_running_job_which_is_measured_elsewhere(sweep, answer):
    """Nothing it says is stored after that; the other machine does the rest."""
    script = lambda job, row: (answer(row) if callable(answer) else answer) if job.batch_size == 2 else row  # noqa: E731
    a, b = FakeActor("a", script), FakeActor("b")
    measured = sweep(a, b)
    measured.run(GROUPS)
    assert stored(measured) == PLANNED
    assert measured.cluster.ray.killed == ["a"]
    assert all(row.device == "fake" for row in measured.folder.read_rows())


SERIES = {"at_s": [0.1, 0.2], "power_w": [700.0, None]}
NO_SERIES = {"a list": [1], "another job": {**SERIES, "job": [1]}, "text": {"at_s": ["now"]}, "no column": {"at_s": 1}}


@pytest.mark.parametrize("sent", NO_SERIES.values(), ids=NO_SERIES)
def test_telemetry_is_kept_as_columns_of_numbers_and_nothing_else_is(sweep, sent):
    """A line a row; a machine that sends anything else is dropped, and its row with it."""
    a, b = FakeActor("a"), FakeActor("b")
    a.telemetry, b.telemetry = sent, SERIES
    measured = sweep(a, b)
    measured.run(GROUPS)
    lines = [json.loads(line) for line in (measured.folder.path / "telemetry.jsonl").read_text().splitlines()]
    assert lines == [{"job": asdict(row.job), **SERIES} for row in measured.folder.read_rows()]
    assert (stored(measured), measured.cluster.ray.killed) == (PLANNED, ["a"])


@pytest.mark.parametrize("calibrate", [False, True])
def test_a_machine_that_is_lost_before_it_begins_gives_its_unit_to_one_that_has_none(sweep, calibrate):
    """That one does not get a second unit over it, nor one while it measures the ceilings."""
    a, b = FakeActor("a"), FakeActor("b")
    a.start = Method(lambda jobs: (_ for _ in ()).throw(LostError("gone")))
    measured = sweep(a, b)
    heard = []
    if calibrate:
        measured.on_ceilings = lambda ceilings: heard.append(list(b.started))
    measured.run(GROUPS)
    assert stored(measured) == PLANNED
    assert heard == [[]] * calibrate


def test_a_job_that_loses_two_machines_is_recorded_as_the_cause(sweep):
    """Else it would take every machine of the cluster."""
    script = lambda job, row: LostError("gone") if (job.variant, job.batch_size) == ("slow", 2) else row  # noqa: E731
    measured = sweep(*(FakeActor(name, script) for name in "abc"))
    measured.run(GROUPS)
    assert stored(measured) == PLANNED
    reasons = [row.reason for row in measured.folder.read_rows() if "machine" in row.reason]
    assert len(reasons) == 1
    assert "was lost, and so was the next" in reasons[0]
    assert len(measured.cluster.actors) == 1


def test_without_a_machine_left_the_run_says_how_to_go_on(sweep):
    """Rows so far are kept; nothing is recorded that was not tried."""
    measured = sweep(FakeActor("a", fail_at(2, LostError("gone"))))
    with pytest.raises(ClusterError, match=r"every machine is lost.*--resume run"):
        measured.run(GROUPS)
    assert len(stored(measured)) == 1


def test_an_interruption_lets_the_rows_in_progress_end(sweep):
    """No unit is begun afterwards."""
    a = FakeActor("a")
    measured = sweep(a)
    measured.on_row = lambda row: setattr(measured.interrupt, "requested", True)
    measured.run(GROUPS)
    assert len(a.started) == 1
    assert 1 <= len(stored(measured)) < len(PLANNED)


def test_an_interruption_while_the_ceilings_are_measured_asks_nothing_of_that_device(sweep):
    """It has no sweep yet that could finish; afterwards it gets no unit."""
    a, told = FakeActor("a"), []
    a.finish = SimpleNamespace(remote=lambda: told.append("finish"))
    measured = sweep(a)
    measured.on_ceilings = told.append
    measured.cluster.ray.wait = lambda calls, timeout: (measured.interrupt.request(), (calls[: measured.told], []))[1]
    measured.run(GROUPS)
    assert told == [{"copy_gb_per_s": 1.0, "machine": "a"}]
    assert a.started == []


def test_the_parent_needs_no_ray_without_the_flag():
    """Optional is optional."""
    import subprocess
    import sys

    code = "import harness.__main__, sys; print('ray' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_a_device_whose_tensorrt_is_another_is_left_out():
    """Its engines are not those of the first: `--cluster` names both."""
    cluster = Cluster(FakeRay())
    described = {"machine": MACHINE, "tensorrt": {"tensorrt_engine": "8.6.0"}, "pid": 1}
    cluster._admit("first", FakeActor("first"), described)
    with pytest.raises(ValueError, match=r"its TensorRT is \{\}, this run measures \{'tensorrt_engine': '8.6.0'\}"):
        cluster._admit("second", FakeActor("second"), {**described, "tensorrt": {}})
    assert (list(cluster.actors), cluster.tensorrt) == (["first"], described["tensorrt"])


def gone(ours):
    raise LostError("it died")


def test_devices_of_one_node_are_no_disturbance_to_one_another(capsys):
    """Each looks past the processes of this run on its own node; one that is gone is left out, with a line."""
    nodes = {"a.0": "a", "a.1": "a", "b": "b", "c": "c"}
    looks = {name: gone if name == "c" else lambda ours: {"ours": ours} for name in nodes}
    actors = {name: SimpleNamespace(name=name, observe_load=Method(look)) for name, look in looks.items()}
    cluster = Cluster(FakeRay(), actors, {name: {} for name in nodes})
    cluster._observe_loads({"a.0": 1, "a.1": 2, "b": 3, "c": 4}, nodes)
    assert cluster.loads == [{"ours": [1, 2]}, {"ours": [1, 2]}, {"ours": [3]}]
    assert (list(cluster.actors), list(cluster.machines)) == (["a.0", "a.1", "b"], ["a.0", "a.1", "b"])
    assert capsys.readouterr().out == "c: left out (it died)\n"


def gpu(utilization=0, memory=0.5, *names):
    return {"utilization_percent": utilization, "memory_used_percent": memory, "processes": list(names)}


@pytest.mark.parametrize(
    ("gpus", "signs"),
    [
        ([gpu(), gpu(100, 60.0)], "GPU utilisation 100%, 60% of the GPU's memory is taken"),
        ([gpu(100, 60.0), gpu()], "GPU utilisation 100%, 60% of the GPU's memory is taken"),
        ([gpu(), gpu(0, 60.0, "train"), gpu(0, 0.5, "train", "serve")], "train (on the GPU), serve (on the GPU)"),
        ([gpu(None, None), gpu(50, None)], "GPU utilisation 50%"),
        ([None, gpu(None, 30.0)], "30% of the GPU's memory is taken"),
        ([gpu(), gpu(None, None), None], ""),
        ([None, None], ""),
    ],
)
def test_every_gpu_of_the_run_is_looked_at_for_other_users(gpus, signs):
    """Whichever of them is in use, the run is warned, or stopped by --strict."""
    loads = [{"cpu_percent": 1.0, "processes": [], "gpu": each} for each in gpus]
    said = describe_load(Cluster(FakeRay(), loads=loads).load)
    assert said == (f"the machine is busy: {signs}; timings will suffer" if signs else "")


def test_the_busiest_processes_of_all_machines_are_named():
    """The audit has the form that a run on one machine leaves; where no device has a GPU there is none."""
    names = [("a", 30), ("b", 300), ("c", 20), ("d", 50), ("e", 40), ("f", 10)]
    used = [{"name": name, "cpu_percent": percent} for name, percent in names]
    loads = [
        {"cpu_percent": share, "processes": some, "gpu": None} for share, some in ((9.0, used[:2]), (7.0, used[2:]))
    ]
    load = Cluster(FakeRay(), loads=loads).load
    assert [process["name"] for process in load["processes"]] == ["b", "d", "e", "a", "c"]
    assert (load["cpu_percent"], load["gpu"]) == (9.0, None)
