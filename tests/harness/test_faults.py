"""Every planned job ends as exactly one row, whatever its worker does. The table is docs/decisions/faults.md."""

import json
import signal
import time

import psutil
import pytest

from harness.schema import read_rows
from tests.processes import running

FAULTS = [
    # fault, status and reason of batch 1, status and reason of batch 2
    ("fine", "ok", "", "ok", ""),
    ("garbage", "ok", "", "ok", ""),
    ("segfault", "ok", "", "crashed", "killed by SIGSEGV"),
    ("exit", "ok", "", "crashed", "ended with exit status 3"),
    ("raise", "ok", "", "crashed", "RuntimeError: the kernel refused"),
    ("hang", "ok", "", "timeout", "no answer within 8 s"),
    ("allocate", "ok", "", "oom", ""),
    ("killed", "ok", "", "oom", "killed by SIGKILL"),
    ("missing", "unavailable", "libfaulty.so is not here", "unavailable", "libfaulty.so is not here"),
    ("unsupported", "unsupported", "no such kernel", "unsupported", "no such kernel"),
    ("wrong", "failed_parity", "relative L2 error", "failed_parity", "relative L2 error"),
    ("wrong_at_1", "failed_parity", "relative L2 error", "ok", ""),
    ("nan", "crashed", "logits are not finite", "crashed", "logits are not finite"),
    ("infinite", "crashed", "not JSON compliant", "crashed", "not JSON compliant"),
    ("prints_in_c", "ok", "", "ok", ""),
    ("raise_at_load", "crashed", "RuntimeError: cannot load this model", "crashed", "cannot load this model"),
    ("segfault_at_load", "crashed", "killed by SIGSEGV", "crashed", "killed by SIGSEGV"),
]


def rows_of(tmp_path, run_id="r"):
    return list(read_rows((tmp_path / "results" / run_id / "rows.jsonl").read_text()))


def test_every_fault_costs_its_own_row_and_nothing_else(run_harness, tmp_path):
    """All faults in one run: statuses and reasons as in the table, exit status 0."""
    backends = json.dumps([f"faulty/{fault}" for fault, *_ in FAULTS])
    code, out, err = run_harness("--backends", backends, "--run_id", "r", "--job_timeout_s", "8")
    assert (code, err) == (0, ""), err
    rows = rows_of(tmp_path)
    found = {(row.job.variant, row.job.batch_size): row for row in rows}
    assert len(rows) == len(found) == 2 * len(FAULTS)
    for fault, *expected in FAULTS:
        for batch_size, status, reason in zip((1, 2), expected[::2], expected[1::2], strict=True):
            row = found[fault, batch_size]
            accepted = ("ok", "unstable") if status == "ok" else (status,)
            assert row.status in accepted, f"{fault}, batch {batch_size}: {row.status} {row.reason}"
            assert reason in row.reason, f"{fault}, batch {batch_size}: {row.reason}"
    assert out.count("faulty/") == len(rows), "one progress line a row"
    # what a backend prints cannot break the protocol, and is not lost
    assert "{not json}" in (tmp_path / "results/r/logs/faulty-garbage-fp32-8.log").read_text()
    assert "a word of a C library" in (tmp_path / "results/r/logs/faulty-prints_in_c-fp32-8.log").read_text()


def test_after_out_of_memory_larger_batches_are_skipped(run_harness, tmp_path):
    """Batch 4 runs out of memory; 8 and 16 are not tried, and say why."""
    code, _, _ = run_harness("--backends", "[faulty/oom_at_4]", "--batch_sizes", "[1,4,8,16]", "--run_id", "r")
    statuses = {row.job.batch_size: (row.status, row.reason) for row in rows_of(tmp_path)}
    assert code == 0
    assert statuses[4][0] == "oom"
    assert "Tried to allocate 20.00 GiB" in statuses[4][1]
    assert statuses[8] == statuses[16] == ("skipped", "batch 4 of this group ran out of memory")


def wait_for_rows(tmp_path, count, process):
    path = tmp_path / "results" / "r" / "rows.jsonl"
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


SLOW = (
    "--backends", "[faulty/slow]", "--batch_sizes", "[1,2,4,8,16]", "--min_seconds", "0.3", "--run_id", "r",
    "--min_samples", "5", "--reference_images", "1",
)  # fmt: skip


def test_kill_9_loses_no_finished_row(start_harness, run_harness, tmp_path):
    """Kill -9 in the middle, half a line at the end: --resume keeps every row and measures the rest once."""
    process = start_harness(*SLOW)
    wait_for_rows(tmp_path, 2, process)
    process.kill()
    process.communicate()
    path = tmp_path / "results/r/rows.jsonl"
    assert json.loads(path.with_name("audit.json").read_text())["planned_jobs"] == 5, "a report tells what is missing"
    before = path.read_text()
    path.write_text(before + '{"run_id":"r","started')
    code, out, err = run_harness("--resume", "r")
    assert (code, err) == (0, "")
    assert path.read_text().startswith(before)
    assert [row.job.batch_size for row in rows_of(tmp_path)] == [1, 2, 4, 8, 16]
    assert "done" in out


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interruption_finishes_the_row_and_says_how_to_go_on(start_harness, run_harness, tmp_path, number):
    """The row in progress is written, the exit status is 130, and --resume does the rest."""
    process = start_harness(*SLOW)
    wait_for_rows(tmp_path, 1, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    kept = rows_of(tmp_path)
    assert 1 <= len(kept) < 5
    assert f"Interrupted; {len(kept)} of 5 rows are kept. Continue: python -m harness --results_dir {tmp_path}" in out
    assert "--resume r" in out
    run_harness("--resume", "r")
    assert rows_of(tmp_path)[: len(kept)] == kept
    assert len(rows_of(tmp_path)) == 5


def test_a_second_harness_on_one_results_folder_is_refused(start_harness, run_harness, tmp_path):
    """One line, exit status 2, and the first goes on undisturbed."""
    first = start_harness(*SLOW, "--min_seconds", "1")  # longer than a busy machine needs to start the second
    wait_for_rows(tmp_path, 1, first)
    code, _, err = run_harness("--backends", "[faulty/fine]", "--run_id", "other")
    first.communicate(timeout=60)
    assert code == 2
    assert err.count("\n") == 1
    assert f"another harness (process {first.pid}) is measuring there" in err
    assert first.returncode == 0
    assert len(rows_of(tmp_path)) == 5


def test_workers_die_with_a_killed_parent(start_harness, tmp_path):
    """After kill -9 of the parent no worker goes on using the cores that the next run is timed on."""
    process = start_harness("--backends", "[faulty/hang]", "--run_id", "r")
    wait_for_rows(tmp_path, 1, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 1, "two workers at once"
    process.kill()
    process.communicate()
    assert running(workers, timeout_s=5) == []


def test_a_full_disk_stops_the_run_and_keeps_the_rows(run_harness, tmp_path):
    """The file size limit stands for the full disk: whole rows only, one line, and what to do."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code, _, err = run_harness(*SLOW, preexec_fn=limit)
    assert code == 2
    assert "cannot write (" in err
    assert "--resume r" in err
    assert err.count("\n") == 1
    text = (tmp_path / "results/r/rows.jsonl").read_text()
    assert text.endswith("\n")
    assert 1 <= len(list(read_rows(text))) < 5
