"""Bad input: one clear line that names the flag or file and the mend, exit status 2, nothing written."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from harness.__main__ import main
from harness.audit import observe_load


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--backends", "[caffe]"], "--backends caffe: unknown backend; there are pytorch"),
        (["--batch_sizes", "[0]"], "--batch_sizes 0: each must be at least 1"),
        (["--job_timeout_s", ".inf"], "--job_timeout_s inf: must be a finite number"),
        (["--warmup_window_ms", ".inf"], "--warmup_window_ms inf: must be a finite number"),
        (["--job_timeout_s", "1e20"], "--job_timeout_s 1e+20: is over 1e+06"),
        (["--only", "[pytorch/eager/fp32:999:1]", "--backends", "[pytorch]"], "999 px is not exported (there are 8)"),
        (["--accelerator", "H200"], "--accelerator: not without --cluster"),
        (["--batch_sizes", "abc"], "batch_sizes"),
        (["--image_sizes", "[-5]"], "--image_sizes -5"),
        (["--image_sizes", "[96]"], "--image_sizes 96: no weights for it (there are 8)"),
        (["--run_id", "../x"], "--run_id ../x"),
        (["--resume", "nonesuch"], "--resume nonesuch: no such run"),
        (["--no_such_flag", "1"], "no_such_flag"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_bad_flags_are_one_line(refuse, tmp_path, arguments, expected):
    """The line names the flag; there is no results folder afterwards."""
    assert expected in refuse(*arguments)
    assert not list(tmp_path.glob("results/*/*"))


def damage_weights(folder):
    (folder / "best_resnet18_8.pth").write_bytes(b"other bytes")


def damage_reference(folder):
    (folder / "reference/resnet18_8.npz").write_bytes(b"PK")


def damage_manifest(folder):
    (folder / "best_resnet18_8.json").write_text("{")


def swap_manifest_path(folder):
    path = folder / "reference/resnet18_8.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"artifact": "../../etc/passwd"}))


def strip_reference(folder):
    path = folder / "reference/resnet18_8.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "weights_sha256"}))


def quote_classes(folder):
    path = folder / "best_resnet18_8.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_classes": "10"}))


def retrain(folder):
    path = folder / "reference/resnet18_8.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": "0" * 64}))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (damage_weights, "best_resnet18_8.pth is not the file its JSON describes"),
        (damage_reference, "run `python -m export --image_size 8`"),
        (damage_manifest, "best_resnet18_8.json is not a manifest"),
        (swap_manifest_path, "must be a file name in the same folder"),
        (strip_reference, "resnet18_8.json is not a manifest (KeyError('weights_sha256'))"),
        (quote_classes, "best_resnet18_8.json is not a manifest (TypeError(\"num_classes is '10'\"))"),
        (retrain, "was made from other weights than"),
    ],
)
def test_damaged_files_are_refused_before_anything_is_loaded(refuse, weights_dir, tmp_path, damage, expected):
    """Checksums are compared first: a swapped file is never opened by a library."""
    damage(weights_dir)
    assert expected in refuse("--backends", "[faulty/fine]")
    assert not list(tmp_path.glob("results/*/rows.jsonl"))


@pytest.mark.parametrize("arch", ["resnet50", "../x"])
def test_a_network_without_weights_is_refused_with_those_that_have(refuse, arch):
    """`--arch` chooses whose weights are measured."""
    err = refuse("--backends", "[faulty/fine]", "--arch", arch)
    assert f"--arch {arch}: " in err
    assert arch != "resnet50" or "which has resnet18; run `python -m training fit --model.arch resnet50" in err


def test_an_empty_weights_folder_names_the_command_that_fills_it(refuse, weights_dir):
    """Nothing trained yet."""
    for path in weights_dir.rglob("*.json"):
        path.unlink()
    assert "run `make train export` first" in refuse("--backends", "[faulty/fine]")


def test_a_results_path_that_cannot_be_written_is_named(refuse, tmp_path):
    """A file stands where the folder should be (root may write anywhere, so permissions are no test)."""
    (tmp_path / "results").write_text("")
    assert "cannot write there" in refuse("--backends", "[faulty/fine]")


def test_an_existing_run_is_not_overwritten(run_harness, tmp_path):
    """The same run id again is refused and names --resume; the rows stay."""
    run_harness("--backends", "[faulty/missing]", "--run_id", "r")
    before = (tmp_path / "results/r/rows.jsonl").read_bytes()
    code, _, err = run_harness("--backends", "[faulty/missing]", "--run_id", "r")
    assert code == 2
    assert "--resume r" in err
    assert (tmp_path / "results/r/rows.jsonl").read_bytes() == before


def test_a_run_of_another_machine_is_not_resumed(run_harness, tmp_path):
    """Its rows stay as they are; the line names both machines."""
    run_harness("--backends", "[faulty/missing]", "--run_id", "r")
    path = tmp_path / "results/r/rows.jsonl"
    device = json.loads(path.read_text().splitlines()[0])["device"]
    before = path.read_bytes().replace(device.encode(), b"Another CPU")
    path.write_bytes(before)
    code, _, err = run_harness("--resume", "r")
    assert code == 2
    assert f"it was measured on Another CPU, and this machine is {device}; start a new run" in err
    assert path.read_bytes() == before


@pytest.mark.slow
def test_continuing_with_new_weights_sets_the_old_run_aside(run_harness, weights_dir, tmp_path):
    """`make bench` after a new training: the old rows are kept under another name, all jobs are measured again."""
    arguments = ("--backends", "[faulty/fine]", "--run_id", "r", "--continue_or_replace", "true")
    run_harness(*arguments)
    code, out, _ = run_harness(*arguments)
    assert (code, "0 jobs to measure, 2 done" in out) == (0, True)
    weights = weights_dir / "best_resnet18_8.pth"
    weights.write_bytes(b"new weights")
    from conftest import sha256

    for path in (weights.with_suffix(".json"), weights_dir / "reference/resnet18_8.json"):
        key = "sha256" if path.parent == weights_dir else "weights_sha256"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: sha256(weights)}))
    code, out, _ = run_harness(*arguments)
    assert (code, "2 jobs to measure, 0 done" in out) == (0, True)
    assert len(list((tmp_path / "results").glob("r*/rows.jsonl"))) == 2


def test_the_parent_imports_neither_torch_nor_a_backend():
    """The process that waits must stay small and quiet."""
    code = "import harness.__main__, sys; print([m for m in sys.modules if m.split('.')[0] in "
    code += "('torch', 'torchvision', 'onnxruntime', 'openvino', 'tensorrt') or m.startswith('harness.backends.p')])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    assert out.strip() == "[]"


def test_help_names_units(monkeypatch, capsys):
    """Every time flag says its unit."""
    monkeypatch.setattr(sys, "argv", ["harness", "--help"])
    with pytest.raises(SystemExit):
        main()
    text = " ".join(capsys.readouterr().out.split())
    assert "Square input sides in px" in text
    assert "Longest time to sample a job, in s" in text
    assert "Length of a warm-up window in ms" in text


def test_the_audit_keeps_where_the_time_went(run_harness, tmp_path):
    """Parts add up to the wall clock; the null job is far under a microsecond's order; the parent used under 1%."""
    run_harness("--backends", "[faulty/fine]", "--run_id", "r")
    audit = json.loads((tmp_path / "results/r/audit.json").read_text())
    sheet = audit["time_sheet_s"]
    parts = ("importing", "loading", "parity", "warm_up", "measuring", "other")
    assert sum(sheet[name] for name in parts) == pytest.approx(sheet["wall"])
    assert 0 < audit["null_job_ms"] < 0.01


def test_processes_of_the_run_are_no_disturbance(monkeypatch):
    """Two looks at a machine with one process, which takes a core."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        monkeypatch.setattr(psutil, "process_iter", lambda: [psutil.Process(busy.pid)])
        assert len(observe_load("cpu", 0.5)["processes"]) == 1
        assert observe_load("cpu", 0.5, ours=[busy.pid])["processes"] == []
    finally:
        busy.kill()
        busy.wait()


def test_a_busy_machine_is_named(run_harness, tmp_path):
    """Another process that takes a core: a warning by name, or a stop with --strict."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        code, out, _ = run_harness("--backends", "[faulty/fine]", "--run_id", "r")
        assert (code, "the machine is busy" in out) == (0, True)
        code, _, err = run_harness("--backends", "[faulty/fine]", "--run_id", "s", "--strict", "true")
    finally:
        busy.kill()
        busy.wait()
    assert code == 2
    assert "python" in err
    assert not (tmp_path / "results/s").exists()
