"""What a run's folder must be, and what must be as it was, for a run to be gone on with."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from conftest import sha256

from harness.artifacts import find_models
from harness.commands import describe_job
from harness.config import BenchConfig
from harness.resume import find_difference
from harness.schema import Job, Row
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


def export(weights_dir, content):
    """What the faulty backend's fp32 jobs are given once it is there."""
    path, weights = weights_dir / "onnx/resnet18_8_fp32.onnx", weights_dir / "best_resnet18_8.pth"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    known = {"kind": "onnx", "arch": "resnet18", "image_size": 8, "precision": "fp32", "artifact": path.name}
    path.with_suffix(".json").write_text(
        json.dumps({**known, "sha256": sha256(path), "weights_sha256": sha256(weights)})
    )
    return sha256(path)


def test_what_was_unavailable_is_measured_once_it_is_exported(run_harness, weights_dir, tmp_path):
    """The row says what to run; afterwards these jobs alone are measured, once for each file that is found."""
    arguments = ("--backends", "[faulty/missing,faulty/raise]", "--run_id", "r")
    run_harness(*arguments)
    before = rows_of(tmp_path)
    for number, content in enumerate((b"a network", b"one that was exported again")):
        exported = export(weights_dir, content)
        code, out, err = run_harness(*arguments, "--continue_or_replace", "true")
        assert (code, err) == (0, "")
        assert "2 jobs to measure, 2 done" in out
        rows = rows_of(tmp_path)
        assert len(rows) == 4 + 2 * (number + 1)
        assert rows[:4] == before
        assert {(row.job.variant, row.artifact_sha256) for row in rows[-2:]} == {("missing", exported)}
        assert "0 jobs to measure, 4 done" in run_harness("--resume", "r")[1]
    assert not list((tmp_path / "results").glob("r.*"))


def test_an_export_that_was_measured_may_not_change(run_harness, refuse, weights_dir):
    export(weights_dir, b"a network")
    run_harness("--backends", "[faulty/raise]", "--run_id", "r")
    export(weights_dir, b"one that was exported again")
    assert "the weights or exports at 8 px have changed since; start a new run" in refuse("--resume", "r")


def find_fault(tmp_path, weights_dir, options, cores, threads=0):
    """What is said of a run with one row, whose machines have these `cores`."""
    config = BenchConfig(backends=["pytorch"], threads=threads)
    folder, models = RunFolder(tmp_path / "r"), find_models(weights_dir, [8])
    folder.create(asdict(config), {})
    job = Job("pytorch", "eager", "fp32", 8, 1)
    machines = {
        name: {"device": "a CPU", "kind": "cpu", "cpu": {"usable_cores": count}} for name, count in cores.items()
    }
    known = describe_job(job, models[8], next(iter(machines.values())))
    row = {"run_id": "r", "started_at": "2026-01-01T00:00:00Z", "status": "crashed", "reason": "fake"}
    folder.append(Row.from_dict({**row, "options": options, **known}))
    return find_difference(folder, config, machines, models)


THREADS = {
    "as many": ({"threads": 2}, {"": 2}, ""),
    "fewer": (
        {"threads": 2},
        {"": 1},
        "it was measured with 2 threads, one for each usable core, and would go on with 1",
    ),
    "a row that does not say": ({}, {"": 1}, ""),
    "each machine as before": ({"threads": 8, "machine": "b"}, {"a": 2, "b": 8}, ""),
    "a machine that has fewer": ({"threads": 8, "machine": "b"}, {"a": 8, "b": 2}, "it was measured with 8 threads"),
    "a machine that is gone": ({"threads": 8, "machine": "c"}, {"a": 2}, ""),
}


@pytest.mark.parametrize(("options", "cores", "fault"), THREADS.values(), ids=THREADS)
def test_rows_of_another_number_of_threads_are_not_gone_on_with(tmp_path, weights_dir, options, cores, fault):
    """Machines of a cluster are compared by name, each with itself."""
    found = find_fault(tmp_path, weights_dir, options, cores)
    assert found.startswith(fault)
    assert bool(found) is bool(fault)


def test_threads_that_were_asked_for_do_not_depend_on_the_cores(tmp_path, weights_dir):
    assert find_fault(tmp_path, weights_dir, {"threads": 2}, {"": 1}, threads=2) == ""


def test_a_run_that_may_use_fewer_cores_now_is_not_resumed(run_harness, refuse, tmp_path, monkeypatch):
    run_harness(*RUN)
    threads = rows_of(tmp_path)[0].options["threads"]
    monkeypatch.setattr("harness.machine.count_usable_cores", lambda: threads + 1)
    err = refuse("--resume", "r")
    assert (
        f"measured with {threads} threads, one for each usable core, and would go on with {threads + 1}; start" in err
    )


def test_rows_that_answered_other_reference_images_are_not_gone_on_with(run_harness, refuse, weights_dir, tmp_path):
    """Exported again with half as many: accuracy and agreement would be of other images from row to row."""
    run_harness("--backends", "[faulty/fine]", "--run_id", "r", "--max_samples", "20")
    path = weights_dir / "reference/resnet18_8.npz"
    content = dict(np.load(path))
    np.savez(path, **content | {name: content[name][:8] for name in ("images", "labels", "logits")})
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sha256": sha256(path)}))
    assert "the reference images at 8 px have changed since; start a new run" in refuse("--resume", "r")
    (tmp_path / "results/r/references.json").unlink()  # as in a run from before it was kept
    assert run_harness("--resume", "r")[0] == 0
    assert json.loads((tmp_path / "results/r/references.json").read_text()) == {"8": sha256(path)}


@pytest.mark.parametrize("name", ["references.json", "audit.json"])
def test_a_damaged_file_of_the_run_is_named(run_harness, tmp_path, name):
    run_harness(*RUN)
    (tmp_path / "results/r" / name).write_text("{")
    rows = tmp_path / "results/r/rows.jsonl"
    rows.write_text(rows.read_text().splitlines(keepends=True)[0])
    code, _, err = run_harness("--resume", "r")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"r/{name}: cannot be read (JSONDecodeError); delete it" in err
