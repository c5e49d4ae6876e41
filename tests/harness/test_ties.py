"""The harness and the analysis together: equal is a tie and 5% slower is slower, in five real runs out of five."""

import pytest

from analysis import stats
from analysis.__main__ import main
from analysis.cells import Key, build_cells
from analysis.load import load_run
from analysis.self_check import find_self_check

RUNS, TRIES = 5, 10
CONTENDERS = "[faulty/fine,faulty/again,faulty/slower]"


def speedup_verdict(cells, variant):
    """How `variant` compares with `fine`, as summary.csv says it of a contender and the baseline."""
    base, other = (cells[Key(8, 1, "faulty", name, "fp32")] for name in ("fine", variant))
    return stats.verdict(stats.ratio_interval(base.draws, other.draws))


@pytest.mark.alone
def test_five_runs_find_ties_and_the_five_percent(run_harness, tmp_path, capsys, monkeypatch):
    """`again` is `fine` under another name; `fine+again` is the self-check; `slower` waits 5% longer.

    `fine` waits so long that what a disturbance adds is small beside 5% of it. A run whose own rows say `unstable`,
    because something else used the machine, is made again.
    """
    monkeypatch.setenv("FAULTY_WAIT_MS", "20")
    results = tmp_path / "results"
    arguments = ("--backends", CONTENDERS, "--batch_sizes", "[1]", "--self_check", "true", "--max_seconds", "2")
    arguments += ("--min_samples", "10", "--reference_images", "1")
    steady = []
    while len(steady) < RUNS:
        run_id = f"run{len(list(results.glob('run*')))}"
        assert run_id != f"run{TRIES}", "the machine is too noisy to tell"
        code, _, err = run_harness(*arguments, "--run_id", run_id)
        assert (code, err) == (0, "")
        rows = load_run(results, run_id).rows
        if any(row.status == "unstable" for row in rows):
            continue
        steady.append(run_id)
        cells = build_cells(rows)
        times = {cell.key.variant: cell.mean_ms for cell in cells.values()}
        assert speedup_verdict(cells, "again") == "tie", times
        assert speedup_verdict(cells, "slower") == "slower", times
        check = find_self_check(rows)
        assert check.low <= 1.0 <= check.high, times
    assert main(["compare", steady[0], steady[-1], "--results_dir", str(results), "--max_slowdown", "0%"]) == 0
    assert capsys.readouterr().out.count("tie") == 3
