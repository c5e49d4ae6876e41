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
