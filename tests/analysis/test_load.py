from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from analysis.load import InputError, find_runs, load_run
from analysis.study import judge
from harness.schema import SCHEMA_VERSION, STATUSES, read_rows
from tests.analysis import synthetic

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("rows_v*.jsonl"))
EAGER = synthetic.CPU[0]


def test_this_schema_version_has_a_fixture() -> None:
    assert f"rows_v{SCHEMA_VERSION}" in [path.stem for path in FIXTURES]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_fixtures_of_this_and_older_versions_are_read(path: Path) -> None:
    rows = list(read_rows(path.read_text(encoding="utf-8")))
    assert {row.status for row in rows} == set(STATUSES)
    assert {row.schema_version for row in rows} == {SCHEMA_VERSION}
    assert {row.arch for row in rows} == {"resnet18" if path.stem == "rows_v1" else "resnet50"}


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("arch", ("resnet18", "vgg11"), r"rows of several networks \(resnet18, vgg11\)"),
        (
            "device",
            ("NVIDIA A100", "NVIDIA L4"),
            r"rows of several devices \(NVIDIA A100, NVIDIA L4\); keep those of one",
        ),
        ("clock", ("cpu", "cuda_events"), r"rows of several clocks \(cpu, cuda_events\)"),
    ],
)
def test_rows_of_two_networks_devices_or_clocks_are_no_run(
    tmp_path: Path, field: str, values: tuple[str, str], message: str
) -> None:
    rows = [synthetic.make_row(EAGER, 224, batch, count=3, **{field: values[batch - 1]}) for batch in (1, 2)]
    folder = synthetic.write_run(tmp_path / "mixed", rows)
    with pytest.raises(InputError, match=rf"{folder}/rows\.jsonl: {message}"):
        load_run(tmp_path)


def test_cards_of_one_name_are_one_device(tmp_path: Path) -> None:
    """A cluster's rows tell their card in `options`."""
    rows = [synthetic.make_row(EAGER, 224, n, count=3, options={"machine": f"host.{n}"}) for n in (1, 2)]
    synthetic.write_run(tmp_path / "cluster", rows)
    assert len(load_run(tmp_path).rows) == 2


def test_weights_are_those_of_the_network_that_was_timed(tmp_path: Path) -> None:
    synthetic.write_run(tmp_path / "run", [synthetic.make_row(EAGER, 224, 1, count=3, arch="resnet50")])
    weights = synthetic.write_weights(tmp_path / "weights", {224: 0.9})
    assert load_run(tmp_path, "run", weights).weights == {}
    (weights / "best_resnet18_224.json").rename(weights / "best_resnet50_224.json")
    assert load_run(tmp_path, "run", weights).weights[224]["accuracy"] == 0.9


def test_every_status_of_the_fixture_can_be_judged(tmp_path: Path) -> None:
    folder = tmp_path / "fixture"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(
        (Path(__file__).parents[1] / "fixtures" / f"rows_v{SCHEMA_VERSION}.jsonl").read_bytes()
    )
    assert set(judge(load_run(tmp_path)).table["status"]) == set(STATUSES)


def test_compressed_rows_and_later_rows_are_read(tmp_path: Path) -> None:
    rows = [synthetic.failed_row(EAGER, 224, 1, "timeout", "slow"), synthetic.make_row(EAGER, 224, 1, count=3)]
    folder = synthetic.write_run(tmp_path / "packed", rows)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress((folder / "rows.jsonl").read_bytes()))
    (folder / "rows.jsonl").unlink()
    run = load_run(tmp_path)
    assert [row.status for row in run.rows] == ["ok"]
    assert run.superseded == 1


def test_a_cut_gzip_file_is_one_clear_error(tmp_path: Path) -> None:
    folder = synthetic.write_run(tmp_path / "cut", [synthetic.make_row(EAGER, 224, 1)])
    packed = gzip.compress((folder / "rows.jsonl").read_bytes())
    (folder / "rows.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "rows.jsonl").unlink()
    with pytest.raises(InputError, match=r"rows\.jsonl\.gz: cannot be read"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"flops_per_image": "many"}, "flops_per_image: 'many' is not a number"),
        ({"build_ms": True}, "build_ms: True is not a number"),
    ],
)
def test_what_should_be_a_number_and_is_none_is_named_by_file_and_line(
    tmp_path: Path, changes: dict, complaint: str
) -> None:
    row = json.loads(synthetic.make_row(EAGER, 224, 1, count=3).to_json())
    path = tmp_path / "x" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text(f"{json.dumps(row)}\n{json.dumps({**row, **changes})}\n", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(f"{path}:2: {complaint}; mend or delete this line")):
        load_run(tmp_path)


def test_newest_run_is_the_default(tmp_path: Path) -> None:
    row = synthetic.make_row(EAGER, 224, 1, count=3)
    for name, day in (("b", "2026-11-20"), ("a", "2026-11-22")):
        synthetic.write_run(tmp_path / name, [row], machine={"started_at": f"{day}T00:00:00+00:00"})
    assert find_runs(tmp_path) == ["b", "a"]


def test_accuracy_of_other_weights_is_not_used(tmp_path: Path) -> None:
    row = synthetic.make_row(EAGER, 224, 1, count=3, weights_sha256="cd" * 32)
    synthetic.write_run(tmp_path / "results" / "x", [row])
    run = load_run(tmp_path / "results", weights_dir=synthetic.write_weights(tmp_path / "weights", {224: 0.9}))
    assert run.weights == {}
    assert run.stale_weights == (224,)


def test_a_run_id_cannot_leave_the_results_folder(tmp_path: Path) -> None:
    synthetic.write_run(tmp_path / "results" / "x", [synthetic.make_row(EAGER, 224, 1, count=3)])
    synthetic.write_run(tmp_path / "outside", [synthetic.make_row(EAGER, 224, 1, count=3)])
    with pytest.raises(InputError, match="known runs: x"):
        load_run(tmp_path / "results", "../outside")
