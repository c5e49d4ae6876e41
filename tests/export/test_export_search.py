"""The search for the fastest engine: a real child process with a fake TensorRT.

Its engines take 10 us for an image (8 with a static profile), divided by 1 + level / 10, and answer with the mean
colour times the class number.
"""

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from export.builder import find_interpreter
from export.engine_search import main
from tests.processes import running

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
CLASSES = 10


@pytest.fixture
def searched(exported, tmp_path):
    """Weights whose reference is what the fake engine answers; a search over them, with few and short trials."""
    script = tmp_path / "python-with-tensorrt"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{FAKES}/gpu:{FAKES}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with np.load(exported.reference) as file:
        arrays = dict(file)
    mean, std = (arrays[name].reshape(1, 3, 1, 1) for name in ("mean", "std"))
    colour = ((arrays["images"] / np.float32(255) - mean) / std).mean(axis=(1, 2, 3))
    arrays["logits"] = (colour[:, None] * np.arange(CLASSES)).astype(np.float32)
    np.savez(exported.reference, **arrays)
    manifest = exported.reference.with_suffix(".json")
    about = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**about, "sha256": hashlib.sha256(exported.reference.read_bytes()).hexdigest()}))
    return Searched(exported, script, tmp_path / "found" / "search.jsonl")


class Searched:
    def __init__(self, exported, python, output):
        self.exported, self.python, self.output = exported, python, output

    def flags(self, *flags):
        given = {
            "--weights_dir": self.exported.weights_dir, "--engine_python": self.python, "--output": self.output,
            "--image_size": 64, "--seconds": 0.001, "--batch_sizes": "[2,4]", "--profiles": "[2-4-4]",
            "--optimization_levels": "[3]", "--timing_iterations": "[1]", "--tactic_sources": "[default]",
            "--stems": "[plain]", "--inputs": "[nchw]", "--quantized": "[inputs]",
            **dict(zip(flags[::2], flags[1::2], strict=True)),
        }  # fmt: skip
        return [str(word) for pair in given.items() for word in pair]

    def run(self, *flags):
        return main(self.flags(*flags))

    def records(self):
        return [json.loads(line) for line in self.output.read_text().splitlines()]


def test_every_trial_becomes_a_line_and_the_best_values_are_tried_together(searched, capsys):
    """One factor at a time, then level 4 with the static profile."""
    flags = ["--optimization_levels", "[3,4]", "--profiles", "[2-4-4,4]", "--tactic_sources", "[own,all]"]
    assert searched.run(*flags) == 0
    records = searched.records()
    assert [(r["profile"], r["optimization_level"], r["tactic_sources"]) for r in records] == [
        ("2-4-4", 3, "own"), ("4", 3, "own"), ("2-4-4", 4, "own"), ("2-4-4", 3, "all"), ("4", 4, "own"),
    ]  # fmt: skip
    assert [sorted(record["batches"]) for record in records] == [["2", "4"], ["4"], ["2", "4"], ["2", "4"], ["4"]]
    rates = [130_000, 162_500, 140_000, 130_000, 175_000]
    np.testing.assert_allclose([record["images_per_s"] for record in records], rates, rtol=1e-6)
    first = records[0]
    with np.load(searched.exported.reference) as arrays:
        expected = np.mean(arrays["logits"].argmax(axis=1) == arrays["labels"])
    assert (first["status"], first["accuracy"], first["reference_accuracy"]) == ("ok", expected, expected)
    assert (first["compute_dtypes"], first["timing_cache"]) == ({"fp16": 21}, "cold")
    assert records[1]["timing_cache"] == "warm"  # its kernels are timed in the same way, those of level 4 are not
    assert [record["timing_cache"] for record in records[2:]] == ["cold", "cold", "warm"]
    out = capsys.readouterr().out
    assert "[4/4] 2-4-4, level 3, 1 timing(s), sources all, stem plain, input nchw: built in" in out
    assert re.search(r"best: 4, level 4, .*175,000 img/s at batch 4", out)
    table = searched.output.with_suffix(".md").read_text()
    assert "NVIDIA FAKE 100, TensorRT 8.6.0" in table
    assert table.count("**175,000**") == table.count("**") / 2 == 1
    assert not list((searched.exported.weights_dir / "engines").rglob("*.engine"))


@pytest.mark.slow
def test_a_search_goes_on_where_it_stopped(searched, capsys):
    """What is in the output is not built again; other settings, or another ONNX file, are."""
    assert searched.run() == 0
    assert searched.run("--optimization_levels", "[3,5]") == 0
    assert [record["optimization_level"] for record in searched.records()] == [3, 5]
    known = "[1/2] 2-4-4, level 3, 1 timing(s), sources default, stem plain, input nchw: known: built in"
    assert known in capsys.readouterr().out
    assert searched.run("--seconds", "0.002") == 0
    assert len(searched.records()) == 3


@pytest.mark.slow
def test_int8_files_and_stems_are_built_for_each_placement(searched, monkeypatch):
    """Each variant's ONNX file is another; all pass the checks of the real ONNX library."""
    from export import search_trial

    seen = {}
    write_onnx = search_trial.Bench.write_onnx

    def note(bench, stem, quantized):
        path = write_onnx(bench, stem, quantized)
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path)
        operators = [node.op_type for node in model.graph.node]
        seen[stem, quantized] = ("SpaceToDepth" in operators, "Pad" in operators, operators.count("QuantizeLinear"))
        return path

    monkeypatch.setattr(search_trial.Bench, "write_onnx", note)
    flags = ["--precision", "int8", "--stems", "[plain,folded,padded]", "--quantized", "[inputs,convolutions]"]
    assert searched.run(*flags) == 0
    assert {record["compute_dtypes"]["int8"] for record in searched.records()} == {21}
    assert seen == {
        ("plain", "inputs"): (False, False, 51),
        ("folded", "inputs"): (True, False, 51),
        ("padded", "inputs"): (False, True, 51),
        ("plain", "convolutions"): (False, False, 37),
    }


def test_a_trial_with_wrong_answers_is_never_the_best(searched, monkeypatch, capsys):
    """The fake answers wrongly at level 5, where it is fastest."""
    monkeypatch.setenv("FAKE_FAULT", "wrong")
    assert searched.run("--optimization_levels", "[3,5]") == 0
    right, wrong = searched.records()
    assert wrong["images_per_s"] > right["images_per_s"]
    assert (right["status"], wrong["status"]) == ("ok", "wrong")
    assert re.search(r"at batch \d: rel_l2 2 is above 0.02", wrong["reason"])
    assert "best: 2-4-4, level 3" in capsys.readouterr().out
    assert searched.run("--optimization_levels", "[5]") == 1
    assert "no trial gave right answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refuses", "not built: RuntimeError: TensorRT could not build the engine (its reasons are in the log)"),
        ("dies", "not built: the builder ended with status 9"),
    ],
)
def test_a_refused_trial_is_a_line_with_its_reason(searched, monkeypatch, fault, reason):
    """And the search goes on, with a new child where it died; the path of the log is not kept."""
    monkeypatch.setenv("FAKE_FAULT", fault)
    assert searched.run("--optimization_levels", "[3,4]") == 1
    assert [(record["status"], record["reason"]) for record in searched.records()] == [("refused", reason)] * 2
    assert f"| refused: {reason} |" in searched.output.with_suffix(".md").read_text()


@pytest.mark.slow
def test_a_build_that_takes_too_long_is_given_up_and_tried_again_with_more_time(searched, monkeypatch):
    """Its child is ended, and the next trial has another."""
    monkeypatch.setenv("FAKE_BUILD_S", "1")
    for seconds in ("0.1", "0.1"):
        assert searched.run("--max_build_seconds", seconds) == 1
    assert [(r["status"], r["reason"]) for r in searched.records()] == [("timeout", "not built in 0.1 s")]
    assert searched.run("--max_build_seconds", "30") == 0
    assert searched.records()[-1]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_keeps_what_it_measured(searched, tmp_path, number):
    """Ctrl-C or a time limit while the second engine is built: exit status 130, a whole first line, no child left."""
    assert searched.run() == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "export.engine_search", *searched.flags("--optimization_levels", "[3,4]")],
        cwd=ROOT,
        env={**os.environ, "FAKE_BUILD_S": "60", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs here
    )
    for line in process.stdout:
        if line.startswith(b"[2/2]"):
            break
    time.sleep(0.2)
    (child,) = psutil.Process(process.pid).children()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert running([child], timeout_s=0) == []
    assert (process.returncode, err.count(b"\n")) == (130, 1)
    assert b"interrupted; what was measured is in" in err
    assert [record["optimization_level"] for record in searched.records()] == [3]
    assert not list(tmp_path.glob("engine-search-*"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_on_a_gpu_every_stem_and_placement_answers_right(exported, tmp_path, precision):
    """With the real TensorRT, where there is one: built quickly, timed shortly, all within the tolerances."""
    python = find_interpreter(None)
    if subprocess.run([python, "-c", "import tensorrt"], check=False, capture_output=True).returncode:
        pytest.skip(f"needs TensorRT under {python}")
    output = tmp_path / "search.jsonl"
    flags = ["--weights_dir", str(exported.weights_dir), "--image_size", "64", "--precision", precision]
    flags += ["--profiles", "[8-32-64]", "--batch_sizes", "[8,64]", "--optimization_levels", "[1]", "--seconds", "0.1"]
    flags += ["--timing_iterations", "[1]", "--tactic_sources", "[default]"]
    assert main([*flags, "--output", str(output)]) == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert {(record["status"], record["reason"]) for record in records} == {("ok", None)}


def test_what_the_search_needs_is_named_where_it_is_missing_or_stale(searched, capsys):
    """Exit status 2 and one line, before anything is built or written."""
    for flags, said in (
        (["--image_size", "65"], "--image_size: no weights for 65 px"),
        (["--engine_python", "/no/such/python"], "--engine_python: cannot start /no/such/python"),
    ):
        assert searched.run(*flags) == 2
        assert said in capsys.readouterr().err
    searched.exported.reference.write_bytes(b"damaged")
    assert searched.run() == 2
    err = capsys.readouterr().err
    assert "missing or damaged; run `python -m export --image_size 64 --to '[reference,onnx]'`" in err
    assert err.count("\n") == 1
    assert not searched.output.exists()
