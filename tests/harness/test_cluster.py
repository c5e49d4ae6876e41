"""A sweep on a cluster: every job ends as exactly one row, whatever machines do. With a fake of Ray, and with Ray."""

import json
from collections import deque

import faulty
import pytest
from conftest import ROOT, add_image_size

from harness.artifacts import find_models
from harness.cluster import Cluster, ClusterError, find_slots
from harness.cluster_board import Board, make_units
from harness.cluster_device import Device
from harness.cluster_files import find_same, list_checksums, pack, unpack
from harness.cluster_sweep import ClusterSweep
from harness.config import BenchConfig
from harness.interrupt import Interrupt
from harness.plan import Group
from harness.schema import Job, Row, SchemaError
from harness.store import RunFolder
from harness.sweep import may_share_worker
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
        for method in ("has_model", "receive", "start", "next_rows", "finish"):
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

    def _next_rows(self):
        if not self.left:
            return {"fault": "", "log": "", "time_sheet": vars(TimeSheet(measuring=1.0)), "null_job_ms": [0.001]}
        job = self.left.popleft()
        row = Row("run", "2026-01-01T00:00:00Z", job, "fake", "cpu", "crashed", "fake", options={"machine": self.name})
        answer = self.script(job, json.loads(row.to_json()))
        if isinstance(answer, Exception):
            raise answer
        return {"row": answer if isinstance(answer, str) else json.dumps(answer)}


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
        return ClusterSweep(cluster, folder, find_models(weights_dir, [8]), lambda row: None, Interrupt(), TimeSheet())

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


def test_groups_that_share_a_worker_stay_together():
    """Under `order: contender`, sizes follow one another in one unit."""
    groups = [Group(tuple(jobs_of(v, 1, 2, size=s))) for v, s in (("a", 8), ("a", 16), ("b", 8))]
    assert [len(unit) for unit in make_units(groups, may_share_worker)] == [4, 2]


def test_a_row_is_accepted_once():
    """A second copy of it is nobody's answer."""
    job = jobs_of("fine", 1)[0]
    board = Board(deque([[job]]))
    board.assign("a")
    row = Row("run", "t", job, "fake", "cpu", "crashed", "fake", options={"machine": "a"})
    board.accept("a", row, "run", "fake")
    assert board.done
    with pytest.raises(SchemaError, match="not asked for"):
        board.accept("a", row, "run", "fake")


def node(name, alive=True, **resources):
    return {"NodeID": f"{name}0000000", "NodeManagerHostname": name, "Alive": alive, "Resources": resources}


H200 = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H200": 1.0}
L4 = {"CPU": 4.0, "GPU": 1.0, "accelerator_type:L4": 1.0}


def test_places_are_the_cards_of_one_type_or_whole_nodes():
    """One type is taken, several must be named; dead nodes are none."""
    cluster = [node("big", **H200), node("small", **L4), node("gone", alive=False, **H200), node("plain", CPU=2.0)]
    assert [slot.name for slot in find_slots(cluster[:1] + cluster[2:], None, "auto")] == [
        "big-big000.0",
        "big-big000.1",
    ]
    assert [slot.accelerator for slot in find_slots(cluster, "L4", "auto")] == ["L4"]
    assert [slot.cpus for slot in find_slots(cluster, None, "cpu")] == [8.0, 4.0, 2.0]
    with pytest.raises(ClusterError, match="--accelerator: the cluster has H200, L4; name one"):
        find_slots(cluster, None, "auto")
    with pytest.raises(ClusterError, match="--accelerator A100: not in the cluster"):
        find_slots(cluster, "A100", "auto")


def test_files_are_carried_whole_and_only_below_the_weights_folder(weights_dir, tmp_path):
    """Unpacked elsewhere they are the same model; a path that leads out is refused."""
    model = find_models(weights_dir, [8])[8]
    there = tmp_path / "there"
    assert find_same(there, 8, list_checksums(model)) is None
    unpack(pack(model), there)
    assert list_checksums(find_same(there, 8, list_checksums(model))) == list_checksums(model)
    with pytest.raises(ValueError, match="leads out"):
        unpack({"../evil": b""}, there)


def test_a_device_gets_the_files_it_lacks_and_measures_as_a_sweep_does(weights_dir, worker_script):
    """The remote side without Ray: rows of a real worker, the machine's name in each, the log at the end."""
    faulty.register()
    environments = {"faulty": str(worker_script)}
    config = BenchConfig(["faulty/garbage"], device="cpu", environments=environments, max_seconds=0.5, min_seconds=0)
    device = Device("there", config, "run", "nowhere")
    model = find_models(weights_dir, [8])[8]
    assert not device.has_model(8, list_checksums(model))
    device.receive(pack(model))
    assert device.has_model(8, list_checksums(model))
    jobs = jobs_of("garbage", 1, 2)
    device.start(jobs)
    rows = [Row.from_json(device.next_rows()["row"]) for _ in jobs]
    assert [row.job for row in rows] == jobs
    assert {(row.run_id, row.options["machine"]) for row in rows} == {("run", "there")}
    last = device.next_rows()
    assert last["fault"] == ""
    assert "{not json}" in last["log"]
    assert last["time_sheet"]["measuring"] > 0


def test_two_image_sizes_are_two_models(weights_dir):
    """Checksums of one are not those of the other."""
    add_image_size(weights_dir, 16)
    models = find_models(weights_dir, [])
    assert list_checksums(models[8]) != list_checksums(models[16])


def test_the_parent_needs_no_ray_without_the_flag():
    """Optional is optional."""
    import subprocess
    import sys

    code = "import harness.__main__, sys; print('ray' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
