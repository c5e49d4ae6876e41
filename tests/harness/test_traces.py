"""`--profile`: traces of chosen jobs, made when all jobs are timed."""

import json

import pytest


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
