"""The cluster sweep with Ray itself: two nodes on loopback with accelerators that are none."""

import json
import os
import time
from contextlib import suppress

import psutil
import pytest
from conftest import HERE

from harness.schema import read_rows
from tests.processes import running
from tests.stage_process import SEARCH_PATH

pytestmark = pytest.mark.slow
os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=SEARCH_PATH)
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # the head forks while its threads are inside gRPC: see `cluster.join`
ray = pytest.importorskip("ray", reason="requirements-cluster.txt is not installed")

NODE = {"num_cpus": 1, "num_gpus": 1, "resources": {"accelerator_type:FAKE": 1}, "node_ip_address": "127.0.0.1"}
SOON = {"health_check_period_ms": 200, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0}
CLIENT_PORT = 10123
FAKE = ("--accelerator", "FAKE", "--device", "auto")
LONG = ("--batch_sizes", "[1,2,4]", "--min_seconds", "0.5", "--max_seconds", "0.6")


@pytest.fixture(scope="module")
def two_nodes():
    """A head and a second node, each with one accelerator of the type FAKE; the last test kills the second."""
    from ray.cluster_utils import Cluster

    with (
        pytest.MonkeyPatch.context() as patch
    ):  # Ray gives it on: `--device auto` finds no GPU, also where there is one
        patch.setenv("CUDA_VISIBLE_DEVICES", "GPU-FAKE")
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **NODE, "include_dashboard": False, "_system_config": SOON, "ray_client_server_port": CLIENT_PORT,
            },
        )  # fmt: skip
        cluster.other = cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


def rows_of(tmp_path, run_id):
    return list(read_rows((tmp_path / "results" / run_id / "rows.jsonl").read_text()))


def wait_for_rows(tmp_path, process, enough):
    path = tmp_path / "results/r/rows.jsonl"
    deadline = time.monotonic() + 120
    while not (path.exists() and enough(list(read_rows(path.read_text())))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def count_workers():
    """Processes of the faulty backend's worker, on any node; other tests' have not been started by Ray."""
    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            ours = str(HERE / "faulty.py") in command and "worker" in command
            found += ours and "RAY_JOB_ID" in process.environ()
    return found


def test_a_local_cluster_listens_on_loopback_alone_and_has_no_dashboard(start_harness, tmp_path):
    """Every process that the harness has started, while it measures; and none of them is left afterwards."""
    process = start_harness("--backends", "[faulty/slow]", *LONG, "--cluster", "local", "--run_id", "r")
    wait_for_rows(tmp_path, process, lambda rows: len(rows) >= 1)
    family = psutil.Process(process.pid).children(recursive=True)
    addresses, ports = set(), set()
    for each in family:
        with suppress(psutil.Error):
            listening = [c.laddr for c in each.net_connections() if c.status == psutil.CONN_LISTEN]
            addresses |= {address.ip for address in listening}
            ports |= {address.port for address in listening}
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out + err
    assert addresses, "Ray was there"
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert 8265 not in ports
    assert running(family, timeout_s=10) == []


def test_nobody_at_the_address_is_one_line(run_harness, tmp_path):
    """And nothing is written."""
    code, _, err = run_harness("--backends", "[faulty/fine]", "--cluster", "127.0.0.1:1", "--run_id", "r")
    assert (code, err.count("\n")) == (2, 1), err
    assert "--cluster 127.0.0.1:1:" in err
    assert not (tmp_path / "results/r").exists()


def test_two_nodes_measure_what_one_machine_measures(two_nodes, start_harness, run_harness, tmp_path):
    """The same jobs, the same schema, rows of both machines, and never two jobs on one of them."""
    arguments = ("--backends", "[faulty/fine,faulty/slow,faulty/segfault,faulty/missing]", "--min_seconds", "0.3")
    place = ("--cluster", two_nodes.address, *FAKE)
    process = start_harness(*arguments, *place, "--run_id", "r")
    most = 0
    while process.poll() is None:
        most = max(most, count_workers())
        time.sleep(0.02)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out + err
    run_harness(*arguments, "--run_id", "alone")
    there, here = rows_of(tmp_path, "r"), rows_of(tmp_path, "alone")
    assert sorted(str(row.job) for row in there) == sorted(str(row.job) for row in here)
    assert len({row.options["machine"] for row in there}) == 2
    assert most == 2
    outcome = {str(row.job): (row.status.replace("unstable", "ok"), sorted(row.samples)) for row in there}
    assert outcome == {str(row.job): (row.status.replace("unstable", "ok"), sorted(row.samples)) for row in here}
    machines = json.loads((tmp_path / "results/r/machines.json").read_text())
    assert set(machines) == {row.options["machine"] for row in there}
    load = json.loads((tmp_path / "results/r/audit.json").read_text())["load_before"]
    assert "ray::Device" not in {process["name"] for process in load["processes"]}


def test_a_caller_that_is_on_no_node_goes_through_ray_client(two_nodes, start_harness, tmp_path):
    """`ray://`: the nodes get this program's code from the caller."""
    place = ("--cluster", f"ray://127.0.0.1:{CLIENT_PORT}", *FAKE)
    process = start_harness("--backends", "[faulty/fine]", *place, "--run_id", "r")
    out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, ""), out + err
    assert len(rows_of(tmp_path, "r")) == 2


def test_with_a_node_killed_every_job_still_ends_as_one_row(two_nodes, start_harness, run_harness, tmp_path):
    """Its running job and those behind it are measured by the other; afterwards --resume finds nothing to do."""
    backends = ("--backends", "[faulty/fine,faulty/slow,faulty/again,faulty/slower]")
    place = ("--cluster", two_nodes.address, *FAKE)
    process = start_harness(*backends, *LONG, *place, "--run_id", "r")
    wait_for_rows(tmp_path, process, lambda rows: len({row.options["machine"] for row in rows}) == 2)
    two_nodes.remove_node(two_nodes.other, allow_graceful=False)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, ""), out + err
    rows = rows_of(tmp_path, "r")
    assert len(rows) == len({row.job for row in rows}) == 12
    assert "is lost:" in out
    assert {row.status for row in rows} <= {"ok", "unstable"}
    code, out, _ = run_harness("--resume", "r", *place)
    assert (code, "0 jobs to measure, 12 done" in out) == (0, True), out
