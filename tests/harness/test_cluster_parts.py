"""The parts of a cluster sweep: who measures what, where devices are, files that travel, and the remote side."""

from collections import deque
from functools import partial
from queue import SimpleQueue

import faulty
import pytest
from conftest import add_image_size, sha256
from test_engines_found import GPU, VERSION, add_engine

from harness import cluster_device
from harness.artifacts import find_models
from harness.backends import BACKENDS
from harness.cluster import join
from harness.cluster_board import Board, make_units
from harness.cluster_device import Device
from harness.cluster_files import find_same, list_checksums, pack, unpack
from harness.cluster_slots import ClusterError, find_slots
from harness.config import BenchConfig
from harness.plan import Group, may_share_worker, plan_groups
from harness.schema import Job, Row, SchemaError


def jobs_of(variant, *batches, size=8):
    return [Job("faulty", variant, "fp32", size, batch) for batch in batches]


def test_groups_that_share_a_worker_stay_together():
    """Under `order: contender`, sizes follow one another in one unit."""
    groups = [Group(tuple(jobs_of(v, 1, 2, size=s))) for v, s in (("a", 8), ("a", 16), ("b", 8))]
    shared = partial(may_share_worker, config=BenchConfig(order="contender"))
    assert [len(unit) for unit in make_units(groups, shared, 1)] == [4, 2]
    assert [len(unit) for unit in make_units(groups, shared, 3)] == [4, 2]


@pytest.mark.parametrize("order", ["size", "contender", "variant", "backend"])
def test_what_is_compared_is_measured_by_one_device_where_sizes_are_enough(order):
    """Two devices and three sizes, two rounds: each size of a round is one unit, the largest first."""
    config = BenchConfig(["pytorch", "onnx_runtime"], order=order, rounds=2, batch_sizes=[1, 8])
    groups = list(plan_groups(config, [8, 16, 32]))
    units = make_units(groups, partial(may_share_worker, config=config), 2)
    assert [{(job.round, job.image_size) for job in unit} for unit in units] == [
        {(number, size)} for number in (1, 2) for size in (32, 16, 8)
    ]
    assert sorted(str(job) for unit in units for job in unit) == sorted(
        str(job) for group in groups for job in group.jobs
    )


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


@pytest.mark.parametrize(("reason", "waits"), [("the worker was killed by SIGKILL: ...", [2.0]), ("no memory", [])])
def test_a_killed_worker_may_be_the_first_sign_of_a_lost_node(tmp_path, monkeypatch, reason, waits):
    """Its row is not sent before this process would have been killed too."""
    waited = []
    monkeypatch.setattr(cluster_device.time, "sleep", waited.append)
    answers = SimpleQueue()
    row = Row("run", "t", jobs_of("fine", 1)[0], "fake", "cpu", "oom", reason)
    cluster_device.Outbox(tmp_path, answers).append(row)
    assert waited == waits
    assert answers.get() == {"row": row.to_json(), "telemetry": {}}


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


def test_an_accelerator_is_no_place_to_measure_the_cpu_on(refuse):
    """Each card of a node would time its whole CPU while the others do; nothing is started for it."""
    said = "--accelerator H200: not with --device cpu, which measures whole nodes; leave one of them out"
    with pytest.raises(ClusterError, match=said):
        find_slots([node("big", **H200)], "H200", "cpu")
    cluster = ("--cluster", "127.0.0.1:1", "--accelerator", "H200")  # nobody answers there
    assert said in refuse("--backends", "[faulty/fine]", "--run_id", "r", *cluster)


def test_files_are_carried_whole_and_only_below_the_weights_folder(weights_dir, tmp_path):
    """Unpacked elsewhere they are the same model; a path that leads out is refused."""
    model = find_models(weights_dir, [8])[8]
    there = tmp_path / "there"
    assert find_same(there, 8, "resnet18", list_checksums(model), gpu="", tensorrt={}) is None
    unpack(pack(model), there)
    assert list_checksums(
        find_same(there, 8, "resnet18", list_checksums(model), gpu="", tensorrt={})
    ) == list_checksums(model)
    with pytest.raises(ValueError, match="leads out"):
        unpack({"../evil": b""}, there)


def test_engines_of_the_gpu_and_its_tensorrt_travel_too(weights_dir, tmp_path):
    """A device of another GPU or version does not take them for its own."""
    versions, there = {"tensorrt_engine": VERSION}, tmp_path / "there"
    path = add_engine(weights_dir)
    model = find_models(weights_dir, [8], "resnet18", GPU, versions)[8]
    checksums = list_checksums(model)
    assert sha256(path) in checksums
    unpack(pack(model), there)
    assert find_same(there, 8, "resnet18", checksums, gpu=GPU, tensorrt=versions).engines["tensorrt_engine"]
    assert find_same(there, 8, "resnet18", checksums, gpu=GPU, tensorrt={"tensorrt_engine": "11.1.0"}) is None
    assert find_same(there, 8, "resnet18", checksums, gpu="NVIDIA A100", tensorrt=versions) is None


def test_a_device_gets_the_files_it_lacks_and_measures_as_a_sweep_does(weights_dir, worker_script, monkeypatch):
    """The remote side without Ray: rows of a real worker, the machine's name in each, the log at the end."""
    monkeypatch.setitem(BACKENDS, "faulty", None)  # taken out of the table again afterwards
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


@pytest.mark.parametrize("order", ["size", "backend"])
def test_a_device_loads_each_contender_of_a_unit(weights_dir, worker_script, monkeypatch, order):
    """Two in one unit: each answers for itself, from a worker of its own or from a shared one."""
    monkeypatch.setitem(BACKENDS, "faulty", None)
    faulty.register()
    environments = {"faulty": str(worker_script)}
    config = BenchConfig(
        ["faulty/fine", "faulty/wrong"],
        device="cpu",
        environments=environments,
        max_seconds=0.5,
        min_seconds=0,
        order=order,
    )
    device = Device("there", config, "run", str(weights_dir))
    assert device.has_model(8, list_checksums(find_models(weights_dir, [8])[8]))
    jobs = [*jobs_of("fine", 1, 2), *jobs_of("wrong", 1, 2)]
    device.start(jobs)
    rows = [Row.from_json(device.next_rows()["row"]) for _ in jobs]
    assert [row.job for row in rows] == jobs
    assert [row.status == "failed_parity" for row in rows] == [False, False, True, True]


def test_two_image_sizes_are_two_models(weights_dir):
    """Checksums of one are not those of the other."""
    add_image_size(weights_dir, 16)
    models = find_models(weights_dir, [])
    assert list_checksums(models[8]) != list_checksums(models[16])


class FakeRay:
    """Raises what it was given, one at a time; then it is connected."""

    def __init__(self, *errors):
        self.errors, self.calls = deque(errors), 0

    def init(self, **options):
        self.calls += 1
        if self.errors:
            raise self.errors.popleft()


DEAD_FORK = ConnectionAbortedError("Initialization failure from server: Starting Ray client server failed. See x.err")


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_a_client_server_that_died_at_birth_is_asked_for_again(deaths):
    """Ray's head forks it while its threads are inside gRPC, and some forks die."""
    ray = FakeRay(*[DEAD_FORK] * deaths)
    join(ray, "ray://head:10001")
    assert ray.calls == deaths + 1


@pytest.mark.parametrize(("error", "calls"), [(DEAD_FORK, 3), (ConnectionError("ray client connection timeout"), 1)])
def test_joining_ends(error, calls):
    """After three deaths, or at once where the reason is another."""
    ray = FakeRay(*[error] * 9)
    with pytest.raises(ConnectionError, match=str(error)[:20]):
        join(ray, "ray://head:10001")
    assert ray.calls == calls
