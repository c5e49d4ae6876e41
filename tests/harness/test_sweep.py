"""What a sweep does beyond one job after another: workers kept over image sizes, batches that are not worth a try."""

import pytest
from conftest import add_image_size

from harness.store import RunFolder


@pytest.mark.parametrize(("order", "workers"), [("size", 4), ("contender", 2)])
def test_a_worker_is_kept_where_only_the_image_size_differs(run_harness, weights_dir, tmp_path, order, workers):
    """Two contenders at two sizes: four processes, or one for each contender; the rows are the same."""
    add_image_size(weights_dir, 16)
    backends = "[faulty/fine, faulty/again]"
    code, out, err = run_harness("--backends", backends, "--order", order, "--run_id", "run")
    assert code == 0, out + err
    rows = list(RunFolder(tmp_path / "results" / "run").read_rows())
    assert all(row.status in ("ok", "unstable") for row in rows)
    assert {(row.job.variant, row.job.image_size) for row in rows} == {
        (variant, size) for variant in ("fine", "again") for size in (8, 16)
    }
    assert len({row.executed["pid"] for row in rows}) == workers


def test_a_fresh_worker_tries_again_where_a_kept_one_dies_loading(run_harness, weights_dir, tmp_path):
    """`dies_on_second_load` cannot be asked twice: the second size still gets its rows."""
    add_image_size(weights_dir, 16)
    code, out, err = run_harness(
        "--backends", "[faulty/dies_on_second_load]", "--order", "contender", "--run_id", "run"
    )
    assert code == 0, out + err
    rows = list(RunFolder(tmp_path / "results" / "run").read_rows())
    assert [row.job.image_size for row in rows] == [8, 8, 16, 16]
    assert all(row.status in ("ok", "unstable") for row in rows)  # its times are those of nothing


@pytest.mark.parametrize(("variant", "workers"), [("missing", 1), ("unsupported", 1), ("raise_at_load", 2)])
def test_a_worker_that_declines_is_asked_for_the_next_size_too(run_harness, weights_dir, tmp_path, variant, workers):
    """Starting another one costs seconds where a library is heavy; one that failed otherwise is not trusted again."""
    add_image_size(weights_dir, 16)
    code, out, err = run_harness("--backends", f"[faulty/{variant}]", "--order", "contender", "--run_id", "run")
    assert code == 0, out + err
    assert len(list(RunFolder(tmp_path / "results" / "run").read_rows())) == 4
    logs = (tmp_path / "results" / "run" / "logs").glob("faulty-*")  # each worker writes to the log of its first size
    assert len(list(logs)) == workers


def test_batches_past_saturation_are_skipped_with_the_reason(run_harness, tmp_path):
    """Two doublings raise FPS by 300% at constant time, and never by 5,000%: batch 8 is not tried."""
    arguments = ("--backends", "[faulty/fine]", "--batch_sizes", "[1,2,4,8]", "--saturation_percent", "5000")
    code, out, err = run_harness(*arguments, "--run_id", "run")
    assert code == 0, out + err
    rows = list(RunFolder(tmp_path / "results" / "run").read_rows())
    assert [row.status in ("ok", "unstable") for row in rows] == [True, True, True, False]
    assert rows[-1].status == "skipped"
    assert "saturation_percent" in rows[-1].reason


def test_a_fault_that_sticks_to_its_process_costs_its_own_row(run_harness, weights_dir, tmp_path):
    """Neither the next batch nor another contender of the same worker (`order: backend`) finds it."""
    add_image_size(weights_dir, 16)
    code, out, err = run_harness(
        "--backends",
        "[faulty/sticks, faulty/after]",
        "--order",
        "backend",
        "--batch_sizes",
        "[1,2,4]",
        "--run_id",
        "run",
    )
    assert code == 0, out + err
    rows = list(RunFolder(tmp_path / "results" / "run").read_rows())
    failed = [(row.job.variant, row.job.batch_size) for row in rows if row.status not in ("ok", "unstable")]
    assert (len(rows), failed) == (12, [("sticks", 2), ("sticks", 2)])


def test_what_a_kept_worker_fails_to_load_is_tried_by_a_new_one(run_harness, tmp_path):
    """Its own fault is then found twice: once by each."""
    code, out, err = run_harness(
        "--backends", "[faulty/after, faulty/raise_at_load]", "--order", "backend", "--run_id", "run"
    )
    assert code == 0, out + err
    rows = list(RunFolder(tmp_path / "results" / "run").read_rows())
    assert [row.status in ("ok", "unstable") for row in rows] == [True, True, False, False]
    logs = [path.read_text().count("Traceback") for path in (tmp_path / "results/run/logs").glob("faulty-*")]
    assert logs == [1, 1]


def test_a_log_that_cannot_be_written_ends_the_run_with_one_line(run_harness, tmp_path):
    """It is no fault of the backend, whose jobs stay to be measured."""
    run_harness("--backends", "[faulty/fine]", "--batch_sizes", "[1,2]", "--run_id", "run")
    rows = tmp_path / "results/run/rows.jsonl"
    rows.write_text(rows.read_text().splitlines(keepends=True)[0])
    log = tmp_path / "results/run/logs/faulty-fine-fp32-8.log"
    log.unlink()
    log.mkdir()
    code, _, err = run_harness("--resume", "run")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{log}: cannot be written" in err
    assert len(list(RunFolder(tmp_path / "results" / "run").read_rows())) == 1
