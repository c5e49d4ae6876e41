"""What a run's folder must be, and what must be as it was, for a run to be gone on with."""

import pytest

from harness.store import RunFolder

RUN = ("--backends", "[faulty/missing]", "--run_id", "r")
AGAIN = (*RUN, "--continue_or_replace", "true")


def rows_of(tmp_path, run_id="r"):
    return RunFolder(tmp_path / "results" / run_id).read_rows()


CONFIGS = {
    "newer": (
        lambda text: f"{text}some_newer_flag: 1\n",
        "has settings that this version does not know (some_newer_fl",
    ),
    "gone": (
        lambda text: text.replace("faulty/missing", "caffe"),
        "is none of this version (--backends caffe: unknown",
    ),
    "kind": (lambda text: text.replace("rounds: 1", "rounds: many"), "is none of this version ("),
    "empty": (lambda text: "", "holds no settings"),
    "no YAML": (lambda text: "{", "cannot be read (ParserError)"),
}


@pytest.mark.parametrize(("change", "fault"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_of_another_version_is_not_resumed_and_is_kept_when_replaced(
    run_harness, refuse, tmp_path, change, fault
):
    """One line that names the folder's config; `make bench` begins anew, as with any other difference."""
    run_harness(*RUN)
    path = tmp_path / "results/r/config.yaml"
    changed = change(path.read_text())
    path.write_text(changed)
    err = refuse("--resume", "r")
    assert f"--resume r: its config.yaml {fault}" in err
    assert "; start a new run" in err
    code, out, err = run_harness(*AGAIN)
    assert (code, err) == (0, "")
    assert f"its config.yaml {fault}" in out
    (kept,) = (tmp_path / "results").glob("r.*/config.yaml")
    assert kept.read_text() == changed
    assert len(rows_of(tmp_path)) == len(rows_of(tmp_path, kept.parent.name)) == 2


def test_a_serving_check_is_not_resumed(run_harness, refuse):
    arguments = ("--search_seconds", "0.2", "--serve_seconds", "0.3", "--rate", "5", "--run_id", "r")
    assert run_harness("--scenario", "server", "--backends", "[faulty/fine]", *arguments)[0] == 0
    assert "--resume r: it is a serving check (--scenario server), which is measured in one go;" in refuse(
        "--resume", "r"
    )
