"""`--profile`: traces of chosen jobs, made when all jobs are timed."""

import json
import os
import signal

import pytest

from harness.schema import Job
from harness.sweep import Sweep
from harness.traces import keep_traces


def test_a_job_that_is_not_planned_is_one_line(refuse, tmp_path):
    """Before anything is written; the line names the flag and some jobs there are."""
    err = refuse("--backends", "[faulty/fine]", "--run_id", "r", "--profile", "[faulty/fine/fp32/8/3]")
    assert "--profile faulty/fine/fp32/8/3: not a job of this run; its 2 jobs are faulty/fine/fp32/8/1" in err
    assert not (tmp_path / "results" / "r").exists()


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("fine", "this backend's library writes no trace"),
        ("segfault_at_load", "the worker was killed by SIGSEGV"),
        ("missing", "libfaulty.so is not here"),
    ],
)
def test_a_trace_that_cannot_be_had_costs_nothing(run_harness, tmp_path, variant, reason):
    """The reason is said, the rows are there, the exit status is 0."""
    name = f"faulty/{variant}/fp32/8/2"
    code, out, err = run_harness("--backends", f"[faulty/{variant}]", "--run_id", "r", "--profile", f"[{name}]")
    assert (code, err) == (0, "")
    assert f"No trace of {name}: {reason}" in " ".join(out.split())
    assert len((tmp_path / "results/r/rows.jsonl").read_text().splitlines()) == 2
    assert not list((tmp_path / "results/r/profiles").iterdir())


def test_a_resumed_run_traces_a_job_that_has_its_row(run_harness, tmp_path):
    """Nothing is measured again: the trace is asked of a new worker, after the last row."""
    run_harness("--backends", "[faulty/traced]", "--run_id", "r")
    rows = (tmp_path / "results/r/rows.jsonl").read_bytes()
    code, out, _ = run_harness("--resume", "r", "--profile", "[faulty/traced/fp32/8/2]")
    assert code == 0
    path = tmp_path / "results/r/profiles/faulty-traced-fp32-8-2.json"
    assert f"{path}" in "".join(out.split())
    assert (tmp_path / "results/r/rows.jsonl").read_bytes() == rows
    assert json.loads(path.read_text())["images"] == 2


NAMES = [f"faulty/traced/fp32/8/{batch}" for batch in (1, 2)]


@pytest.fixture
def signalled(run_harness, run_here, monkeypatch):
    """What a run says that is told to end while it makes the first of two traces."""

    def run(fault):
        run_harness("--backends", "[faulty/traced]", "--run_id", "r")

        def keep_trace(self, job, path):
            path.write_text("{}")
            os.kill(os.getpid(), signal.SIGINT)
            return fault

        monkeypatch.setattr(Sweep, "keep_trace", keep_trace)
        return run_here("--resume", "r", "--profile", json.dumps(NAMES))

    return run


@pytest.mark.parametrize(("fault", "left"), [("", 1), ("the worker was killed by SIGKILL", 2)])
def test_a_signal_lets_the_trace_in_progress_end_and_begins_no_other(signalled, fault, left):
    """One that a second signal cuts is missing too; the command that makes them is said."""
    status, out = signalled(fault)
    assert status == 130
    assert f"Interrupted; all rows are kept, {left} of 2 traces are missing. Continue: python -m harness" in out
    assert f"--profile '[{','.join(NAMES)}]' --resume r" in out
    assert out.count("Trace (") == 2 - left


JOB = Job("faulty", "traced", "fp32", 8, 1)


def keep_traces_of(folder, *lines):
    """What keep_traces does where the library writes these lines and the worker is then stopped."""

    def keep(job, path):
        path.with_name("of_the_library.json").write_text("half")
        path.write_text("".join(lines[:1]))
        if len(lines) > 1:
            path.write_text("".join(lines))
            return ""
        return "no answer within 5 s"

    keep_traces([JOB], folder, keep, lambda: False)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_trace_appears_only_when_it_is_whole(tmp_path):
    """What a stopped worker leaves is no trace, and does not take the place of one."""
    folder = tmp_path / "profiles"
    assert keep_traces_of(folder, "[") == {}
    assert keep_traces_of(folder, "[", "]") == {"faulty-traced-fp32-8-1.json": "[]"}
    assert keep_traces_of(folder, "[") == {"faulty-traced-fp32-8-1.json": "[]"}


def test_traces_that_cannot_be_written_cost_nothing(tmp_path, capsys):
    (tmp_path / "profiles").write_text("")
    keep_traces([JOB], tmp_path / "profiles", lambda job, path: "", lambda: False)
    assert f"No trace of {NAMES[0]}: {tmp_path}/profiles" in capsys.readouterr().out
