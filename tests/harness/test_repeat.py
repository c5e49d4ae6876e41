"""One config in several runs that take turns."""

import json
import os
import signal

import pytest

from harness.audit import observe_load
from harness.run import run
from harness.schema import read_rows
from harness.store import RunFolder

ROUNDS = ("--backends", "[faulty/fine, faulty/again]", "--rounds", "2")


def read_runs(tmp_path):
    return {name: list(RunFolder(tmp_path / "results" / name).read_rows()) for name in ("run-1", "run-2")}


def test_runs_take_turns_and_every_round_has_new_workers(run_harness, tmp_path):
    code, out, err = run_harness(*ROUNDS, "--run_id", "run", "--repeat", "2")
    assert code == 0, out + err
    runs = read_runs(tmp_path)
    assert all(len(rows) == 8 for rows in runs.values())
    assert [row.job for row in runs["run-1"]] == [row.job for row in runs["run-2"]]
    turns = sorted((row.started_at, name, row.job.round) for name, rows in runs.items() for row in rows)
    assert list(dict.fromkeys(turn[1:] for turn in turns)) == [("run-1", 1), ("run-2", 1), ("run-1", 2), ("run-2", 2)]
    pids = {
        (name, row.job.contender, row.job.round, row.executed["pid"]) for name, rows in runs.items() for row in rows
    }
    assert len(pids) == len({pid for *_, pid in pids}) == 8
    command = f"python -m analysis spread run-1 run-2 --results_dir {tmp_path / 'results'}"
    assert out.splitlines()[-1].endswith(command)


def test_what_ran_out_of_time_is_continued_and_not_made_again(run_harness, tmp_path):
    arguments = (*ROUNDS, "--run_id", "run", "--repeat", "2")
    assert run_harness(*arguments)[0] == 0
    rows = tmp_path / "results/run-2/rows.jsonl"
    whole = rows.read_text()
    rows.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    code, out, err = run_harness(*arguments, "--continue_or_replace", "true")
    assert code == 0, out + err
    assert [row.job for row in read_runs(tmp_path)["run-2"]] == [row.job for row in read_rows(whole)]
    assert rows.read_text().startswith("".join(whole.splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_turns_ends_all(run_here, tmp_path, monkeypatch, number):
    """While the second run looks at the machine, before it measures: no further row is."""
    loads = []

    def observe_twice(kind):
        loads.append(observe_load(kind, 0.01))
        if len(loads) == 2:
            os.kill(os.getpid(), number)
        return loads[-1]

    monkeypatch.setattr("harness.run.observe_load", observe_twice)
    arguments = ("--backends", "[faulty/missing]", "--rounds", "2", "--run_id", "run", "--repeat", "2")
    status, out = run_here(*arguments)
    assert status == 130
    assert "repeat the command with --continue_or_replace true" in out
    runs = {path.parent.name: len(path.read_text().splitlines()) for path in tmp_path.glob("results/*/rows.jsonl")}
    assert runs.pop("run-1") == 2
    assert sum(runs.values()) == 0


def test_a_signal_after_the_last_row_of_a_turn_begins_no_other(run_here, tmp_path, monkeypatch):
    def run_and_signal(request, interrupt):
        status = run(request, interrupt)
        os.kill(os.getpid(), signal.SIGTERM)
        return status

    monkeypatch.setattr("harness.repeat.run", run_and_signal)
    status, out = run_here("--backends", "[faulty/missing]", "--run_id", "run", "--repeat", "2")
    assert status == 130
    assert "Interrupted; all rows are kept. Repeat the command with --continue_or_replace true." in out
    assert [path.name for path in tmp_path.glob("results/run-*")] == ["run-1"]


@pytest.mark.parametrize(("rounds", "kept"), [("3", True), ("1", False)])
def test_rounds_can_be_added_to_a_run_and_not_taken_away(run_harness, tmp_path, rounds, kept):
    assert run_harness(*ROUNDS, "--run_id", "run")[0] == 0
    before = (tmp_path / "results/run/rows.jsonl").read_text()
    code, out, err = run_harness(*ROUNDS[:2], "--rounds", rounds, "--run_id", "run", "--continue_or_replace", "true")
    assert code == 0, out + err
    folder = RunFolder(tmp_path / "results/run")
    assert folder.read_config()["rounds"] == int(rounds)
    assert folder.rows_path.read_text().startswith(before) is kept
    assert {row.job.round for row in folder.read_rows()} == set(range(1, int(rounds) + 1))
    assert ("the old run is kept as" in out) is not kept


def test_runs_that_exist_are_not_overwritten(run_harness, refuse, tmp_path):
    arguments = (*ROUNDS, "--run_id", "run", "--repeat", "2")
    assert run_harness(*arguments)[0] == 0
    kept = (tmp_path / "results/run-1/rows.jsonl").read_bytes()
    assert "run-1" in refuse(*arguments)
    assert (tmp_path / "results/run-1/rows.jsonl").read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--repeat", "0"], "repeat"),
        (["--repeat", "2", "--resume", "run"], "--resume: not with --repeat"),
        (["--repeat", "2", "--profile", json.dumps(["pytorch/eager/fp32/8/1"])], "--profile: not with --repeat"),
        (["--repeat", "2", "--scenario", "server"], "--repeat: not with --scenario server"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(refuse, arguments, expected):
    assert expected in refuse(*arguments)
