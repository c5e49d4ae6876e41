"""Workers that build side by side: really at once, beside no measurement, and at no cost to any row."""

import json
import os
import signal
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import faulty
import psutil
import pytest
from conftest import add_image_size
from fake_nvml import FakeNvml, process

from harness.artifacts import find_models
from harness.backends import BACKENDS
from harness.builds import SideBuilds
from harness.config import BenchConfig
from harness.interrupt import Interrupt
from harness.plan import plan_groups
from harness.schema import Job
from harness.store import RunFolder
from harness.sweep import Sweep
from harness.telemetry import Telemetry
from tests.processes import running
from tests.stage_process import SEARCH_PATH

BUILDERS = ["builds", "builds_too", "builds_as_well"]


@pytest.fixture
def diary(tmp_path, monkeypatch):
    """(event, pid, seconds) of every build and inference of the faulty backend, in the order of time."""
    path = tmp_path / "diary"
    path.touch()
    monkeypatch.setenv("FAULTY_DIARY", str(path))

    def read():
        lines = (line.split() for line in path.read_text().splitlines())
        return sorted(((event, int(pid), float(at_s)) for event, pid, at_s in lines), key=lambda line: line[2])

    return read


def rows_of(tmp_path, run_id):
    return list(RunFolder(tmp_path / "results" / run_id).read_rows())


def contenders(*variants):
    return ("--backends", json.dumps([f"faulty/{variant}" for variant in variants]), "--max_samples", "30")


def outcomes(rows):
    """What does not depend on how fast the machine is."""
    measured = ("ok", "unstable")
    return [(row.job, "measured" if row.status in measured else (row.status, row.reason)) for row in rows]


def test_workers_build_at_the_same_time_and_nothing_is_measured_meanwhile(run_harness, tmp_path, diary, monkeypatch):
    """Two builds that each wait for the other to begin, then two more; no inference between a begin and its end."""
    monkeypatch.setenv("FAULTY_BUILDERS", "2")
    code, out, err = run_harness(
        *contenders("builds", "fine", "builds_too"), "--parallel_builds", "2", "--run_id", "run"
    )
    assert code == 0, out + err
    events = [event for event, _, _ in diary()]
    assert events[:2] == ["begin", "begin"]
    assert events[2:4] == ["end", "end"]
    assert set(events[4:]) == {"run"}
    rows = rows_of(tmp_path, "run")
    assert [row.options.get("parallel_builds") for row in rows] == [2, 2, None, None, 2, 2]


def test_compilations_of_one_contender_are_made_side_by_side_too(run_harness, tmp_path, diary, monkeypatch):
    """One for batch 1 and one for all others: two workers that wait for each other, each measures what it serves."""
    monkeypatch.setenv("FAULTY_BUILDERS", "2")
    arguments = (*contenders("builds_each"), "--batch_sizes", "[1, 2, 4]", "--parallel_builds", "2")
    code, out, err = run_harness(*arguments, "--run_id", "run")
    assert code == 0, out + err
    assert [event for event, _, _ in diary()][:4] == ["begin", "begin", "end", "end"]
    rows = rows_of(tmp_path, "run")
    assert [(row.job.batch_size, row.options["parallel_builds"]) for row in rows] == [(1, 2), (2, 2), (4, 2)]
    first, second, third = (row.executed["pid"] for row in rows)
    assert first != second == third


@pytest.mark.parametrize(
    ("variant", "flags", "reason"),
    [
        ("oom_each", (), "batch 4 of this group ran out of memory"),
        ("sleeps_each", ("--saturation_percent", "3"), "two batch sizes in a row did not raise FPS by 3%"),
    ],
)
def test_what_ends_a_contender_ends_its_other_compilations(run_harness, tmp_path, variant, flags, reason):
    """Three workers, each with a batch size of its own: the last ones are stopped unasked, as one worker would skip."""
    arguments = (*contenders("fine", variant), "--batch_sizes", "[1, 2, 4, 8, 16]", "--min_seconds", "0.1", *flags)
    for parallel_builds in ("1", "5"):
        code, out, err = run_harness(*arguments, "--parallel_builds", parallel_builds, "--run_id", parallel_builds)
        assert code == 0, out + err
    alone, beside = (rows_of(tmp_path, run_id)[5:] for run_id in ("1", "5"))
    assert outcomes(beside) == outcomes(alone)
    assert [row.status for row in beside][3:] == ["skipped"] * 2
    assert reason in beside[3].reason


def test_what_will_not_be_measured_is_not_built(run_harness, tmp_path, diary):
    """Two at a time: batch 4 runs out of memory, 8 was built beside it, 16 and 32 never are."""
    arguments = (*contenders("oom_each"), "--batch_sizes", "[1, 2, 4, 8, 16, 32]", "--parallel_builds", "2")
    code, out, err = run_harness(*arguments, "--run_id", "run")
    assert code == 0, out + err
    assert [event for event, _, _ in diary()].count("begin") == 4
    assert [row.status for row in rows_of(tmp_path, "run")][2:] == ["oom"] + ["skipped"] * 3


def test_one_after_another_a_contender_has_one_worker(run_harness, tmp_path):
    """Whatever it compiles."""
    code, out, err = run_harness(*contenders("builds_each"), "--batch_sizes", "[1, 2, 4]", "--run_id", "run")
    assert code == 0, out + err
    assert len({row.executed["pid"] for row in rows_of(tmp_path, "run")}) == 1


@pytest.mark.parametrize("at_once", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_rows_and_their_order_are_those_of_one_after_another(run_harness, weights_dir, tmp_path, diary, at_once):
    """Two sizes, three contenders that are slow to build, one that is not: all measured, as planned, one at a time."""
    add_image_size(weights_dir, 16)
    arguments = contenders(BUILDERS[0], "fine", *BUILDERS[1:])
    for parallel_builds in (1, at_once):
        code, out, err = run_harness(
            *arguments, "--parallel_builds", str(parallel_builds), "--run_id", f"{parallel_builds}"
        )
        assert code == 0, out + err
    alone, beside = (rows_of(tmp_path, run_id) for run_id in ("1", f"{at_once}"))
    assert len(alone) == 16
    assert outcomes(beside) == outcomes(alone)
    assert len({row.executed["pid"] for row in beside}) == 8
    events = [(event, pid) for event, pid, _ in diary()]
    assert [event for event, _ in events].count("end") == 6
    running = [pid for event, pid in events if event == "run"]
    assert sum(before != after for before, after in pairwise(running)) == 15, "workers took turns"


def test_a_worker_goes_on_after_its_own_group(run_harness, weights_dir, tmp_path):
    """`order: backend`: each group that is slow to build has a worker of its own, and the last takes what follows."""
    add_image_size(weights_dir, 16)
    arguments = (*contenders("builds", "fine"), "--order", "backend", "--parallel_builds", "2")
    code, out, err = run_harness(*arguments, "--run_id", "run")
    assert code == 0, out + err
    pids = [row.executed["pid"] for row in rows_of(tmp_path, "run")][::2]
    assert pids[0] != pids[1]
    assert pids[1:] == [pids[1]] * 3


def test_a_fault_costs_what_it_costs_one_after_another(run_harness, tmp_path):
    """Failing to load, dying in the build, raising there or while measured: the same rows, with the same reasons."""
    arguments = contenders(*faulty.SLOW_TO_BUILD)
    for parallel_builds in ("1", "3"):
        code, out, err = run_harness(
            *arguments, "--parallel_builds", parallel_builds, "--job_timeout_s", "5", "--run_id", parallel_builds
        )
        assert (code, err) == (0, ""), out + err
    alone, beside = (rows_of(tmp_path, run_id) for run_id in ("1", "3"))
    assert len(alone) == 2 * len(faulty.SLOW_TO_BUILD)
    assert outcomes(beside) == outcomes(alone)
    built = {row.job.variant for row in beside if "parallel_builds" in row.options}
    assert built == {*BUILDERS, "builds_each", "oom_each", "sleeps_each", "slow", "raise", "segfault"}


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_an_interruption_while_workers_build_ends_them_all(start_harness, run_harness, tmp_path, diary, number):
    """At once, with nothing lost: no row of theirs, no process, and --resume measures everything."""
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH, "FAULTY_BUILD_S": "60"}
    arguments = (*contenders(*BUILDERS), "--parallel_builds", "3", "--run_id", "run")
    harness = start_harness(*arguments, env=environment)
    deadline = time.monotonic() + 60
    while len(diary()) < 3:
        assert harness.poll() is None, harness.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(harness.pid).children(recursive=True)
    assert len(workers) == 3
    harness.send_signal(number)
    out, err = harness.communicate(timeout=20)
    assert (harness.returncode, err) == (-9 if number == signal.SIGKILL else 130, "")
    assert running(workers, timeout_s=5) == []
    assert rows_of(tmp_path, "run") == []
    if number != signal.SIGKILL:
        assert "Interrupted; 0 of 6 rows are kept" in out
    assert run_harness("--resume", "run")[0] == 0
    assert [row.options["parallel_builds"] for row in rows_of(tmp_path, "run")] == [3] * 6


def test_a_worker_that_is_started_after_the_signal_is_stopped_too():
    """The signal may come between the start of one worker and the next."""
    killed = []
    interrupt = Interrupt()
    interrupt.request()
    interrupt.watch(SimpleNamespace(process=SimpleNamespace(kill=lambda: killed.append("late"))))
    assert killed == ["late"]


def test_a_worker_that_died_waiting_is_not_asked():
    """Its group then gets a new one, as if nothing had been built."""
    job, stopped = Job("faulty", "builds", "fp32", 8, 1), []
    dead = SimpleNamespace(process=SimpleNamespace(poll=lambda: -9), stop=lambda: stopped.append(True))
    builds = SideBuilds(BenchConfig(), Interrupt(), print, print, {job: (dead, {"event": "loaded"})})
    assert builds.take(job) is None
    assert stopped == [True]
    assert builds.waiting == {}


def test_the_time_sheet_counts_a_side_by_side_build_once(run_harness, tmp_path, monkeypatch):
    """Three builds of 1.5 s at once: their sum would be more than the run's wall clock holds."""
    monkeypatch.setenv("FAULTY_BUILD_S", "1.5")
    code, out, err = run_harness(
        *contenders(*BUILDERS), "--parallel_builds", "3", "--run_id", "run", "--max_warmup_seconds", "0.1"
    )
    assert code == 0, out + err
    sheet = json.loads((tmp_path / "results/run/audit.json").read_text())["time_sheet_s"]
    parts = sum(seconds for name, seconds in sheet.items() if name not in ("wall", "parent_cpu"))
    assert parts == pytest.approx(sheet["wall"])
    assert 1.5 < sheet["building"] < sheet["wall"]
    assert sheet["other"] >= 0
    assert sheet["importing"] == sheet["loading"] == 0.0, "these overlapped, and are in the time of building"


def test_a_worker_that_failed_to_load_is_ours_too():
    """It waits with the CUDA context that its clock made: no other process on the card."""
    job = Job("faulty", "raise_at_load", "fp32", 8, 1, 1)
    builds = SideBuilds(BenchConfig(), Interrupt(), start=None, make_command=None)
    builds.waiting[job] = SimpleNamespace(process=SimpleNamespace(pid=7)), {"event": "failed"}
    assert builds.list_pids() == [7]


def test_workers_that_wait_are_no_other_processes_on_the_gpu(weights_dir, worker_script, tmp_path, monkeypatch):
    """The driver lists all of our workers, each with 100 MB: no row is unstable by that, or has another's memory."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(BACKENDS, "faulty", None)
    faulty.register()

    before = psutil.Process().children()

    def list_workers(handle=None):
        return [process(child.pid, 100) for child in psutil.Process().children() if child not in before]

    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(nvmlDeviceGetComputeRunningProcesses=list_workers))
    sizes = [8, 16, 32]
    for size in sizes[1:]:
        add_image_size(weights_dir, size)
    config = BenchConfig(
        backends=["faulty/slow"], batch_sizes=[1], min_seconds=0.4, max_seconds=0.6, warmup_window_ms=150,
        self_check=False, environments={"faulty": str(worker_script)}, parallel_builds=3,
    )  # fmt: skip
    folder, models = RunFolder(tmp_path / "run"), find_models(weights_dir, sizes)
    machine = {"device": "Fake GPU", "kind": "cpu"}
    folder.create({}, machine)
    alive = []
    sweep = Sweep(
        config, folder, models, machine, 1, lambda row: alive.append(len(list_workers())), Telemetry.open("cuda")
    )
    sweep.run(list(plan_groups(config, sizes)))
    assert alive == [3, 2, 1]
    found = [row.telemetry for row in folder.read_rows()]
    assert [(each["other_processes"], each["gpu_process_memory_mb"]) for each in found] == [(0, 100.0)] * 3
    assert not list_workers()
