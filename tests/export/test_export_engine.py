"""Engines built by a real child process with a fake TensorRT: what is asked for, what is kept, what is refused."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.engine_settings import EngineSettings, parse_profile
from export.tensorrt_builder import choose_mode
from export.to_onnx import run_onnx
from export.to_opset17 import write_opset17

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
FOLDER = "engines/nvidia-fake-100-trt8.6.0"
FAULTS = {"refuses": "could not build the engine", "dies": "ended with status 9"}
ENGINE = f"{FOLDER}/resnet18_64_fp16.engine"


@pytest.fixture
def interpreter(tmp_path):
    """A Python with a fake TensorRT and a fake GPU."""
    script = tmp_path / "python-with-tensorrt"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{FAKES}/gpu:{FAKES}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.fixture
def build(exported, interpreter):
    """Run `python -m export --to engine` in this process; answers the exit status."""

    def run(*flags, precisions="[fp16]"):
        flags = ("--engine_python", str(interpreter), "--engine_precisions", precisions, *flags)
        return exported.export("--to", "engine", *flags)

    return run


def read(exported, name):
    return json.loads((exported.weights_dir / name).read_text())


def test_an_engine_is_written_with_what_it_was_built_from_and_for(build, exported):
    """Manifest: GPU, version, profiles, level, checksums, build time, and every layer as the inspector has it."""
    assert build() == 0
    manifest, engine = read(exported, ENGINE.replace(".engine", ".json")), exported.weights_dir / ENGINE
    import hashlib

    assert manifest["sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert manifest["onnx_sha256"] == hashlib.sha256(exported.onnx.read_bytes()).hexdigest()
    assert manifest["weights_sha256"] == hashlib.sha256(exported.weights.read_bytes()).hexdigest()
    assert (manifest["gpu"], manifest["tensorrt"], manifest["runtime"]) == (
        "NVIDIA FAKE 100", "8.6.0", "tensorrt_engine",
    )  # fmt: skip
    assert (manifest["profiles"], manifest["optimization_level"]) == ([[1, 256, 1024]], 3)
    assert (manifest["timing_cache"], manifest["bytes"]) == ("cold", engine.stat().st_size)
    assert len(manifest["layers"]) == 21
    assert "\x1e" in manifest["layers"][0]["Name"]  # read, though it is no strict JSON
    assert read(exported, ENGINE)["profiles"] == [[[batch, 3, 64, 64] for batch in (1, 256, 1024)]]


@pytest.mark.slow
def test_a_second_build_keeps_it_and_other_settings_or_weights_do_not(build, exported, capsys):
    """Up to date only with the same profiles, level and ONNX file."""
    assert build() == build() == 0
    assert f"{ENGINE}: up to date" in capsys.readouterr().out.replace("\n", "")
    assert build("--engine_profiles", "[1,1-16-64]") == 0
    assert read(exported, ENGINE)["profiles"][0] == [[1, 3, 64, 64]] * 3
    assert build("--engine_optimization_level", "1") == 0
    assert read(exported, ENGINE.replace(".engine", ".json"))["timing_cache"] == "warm"
    assert capsys.readouterr().out.count("up to date") == 2  # the ONNX file, twice


@pytest.mark.slow
def test_the_stem_that_a_search_found_is_what_is_built(build, exported):
    """From a copy: the ONNX file stays, and the manifest names it; another stem is another engine."""
    before = exported.onnx.read_bytes()
    for stem, first in (("plain", "Conv"), ("folded", "SpaceToDepth"), ("padded", "Pad")):
        assert build("--engine_stem", stem) == 0
        assert read(exported, ENGINE)["first"] == first
        assert read(exported, ENGINE.replace(".engine", ".json"))["stem"] == stem
    assert exported.onnx.read_bytes() == before


@pytest.mark.slow
def test_an_engine_is_built_for_the_layout_of_its_images(build, exported):
    """Another layout is another engine."""
    for layout, form in (("nchw", "LINEAR"), ("nhwc", "HWC"), ("nhwc8", "HWC8")):
        assert build("--engine_input", layout) == 0
        assert read(exported, ENGINE)["format"] == form
        assert read(exported, ENGINE.replace(".engine", ".json"))["input_layout"] == layout


@pytest.mark.slow
def test_an_engine_of_another_version_is_built_beside_not_loaded(build, exported, monkeypatch):
    """Each GPU and version has its folder, and its own timing cache."""
    assert build() == 0
    monkeypatch.setenv("FAKE_TENSORRT", "11.1.0")
    assert build() == 0
    manifest = read(exported, "engines/nvidia-fake-100-trt11.1.0/resnet18_64_fp16.json")
    assert (manifest["tensorrt"], manifest["timing_cache"]) == ("11.1.0", "cold")
    assert manifest["onnx"] == "resnet18_64_fp16.onnx"  # strongly typed: precision comes from the graph
    assert manifest["layers"][0]["Inputs"][0]["Format/Datatype"] == "Half"
    assert (exported.weights_dir / ENGINE).exists()


@pytest.mark.slow
def test_int8_is_built_from_the_file_that_is_quantised_for_tensorrt(build, exported):
    """And at a lower level by default."""
    assert build(precisions="[int8]") == 0
    manifest = read(exported, f"{FOLDER}/resnet18_64_int8.json")
    assert (manifest["onnx"], manifest["optimization_level"]) == ("resnet18_64_int8_tensorrt.onnx", 2)
    assert "Int8" in manifest["layers"][0]["Inputs"][0]["Format/Datatype"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_build_is_one_line_and_leaves_nothing(build, exported, monkeypatch, capsys, fault):
    """Exit status 1; no engine, no manifest, no temporary file; an older engine stays."""
    assert build() == 0
    before = exported.everything()
    monkeypatch.setenv("FAKE_FAULT", fault)
    assert build("--engine_optimization_level", "5") == 1
    assert FAULTS[fault] in capsys.readouterr().err
    after = exported.everything()
    log = str(exported.weights_dir / "engines" / "builder.log")
    assert {**before, log: b""} == {**after, log: b""}


def test_an_interrupted_build_leaves_nothing_half_written(exported, interpreter):
    """Ctrl-C while TensorRT builds: exit status 130, no file of the engine, no child left."""
    command = [sys.executable, "-m", "export", "--weights_dir", exported.weights_dir, "--to", "engine"]
    command += ["--engine_python", interpreter, "--engine_precisions", "[fp16]"]
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, "FAKE_BUILD_S": "60"},
        stderr=subprocess.PIPE,
        # a background job of a shell ignores SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs here
    )
    folder = exported.weights_dir / FOLDER
    while not list(folder.glob(".resnet18_64_fp16*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert b"interrupted" in process.stderr.read()
    assert list(folder.iterdir()) == []


def test_without_tensorrt_one_line_says_how_to_get_it(exported, capsys):
    """Exit status 2, before anything is made."""
    assert exported.export("--to", "engine", "--engine_python", sys.executable) == 2
    err = capsys.readouterr().err
    assert "--engine_python: cannot build engines" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine_profiles", "[8-4-1]"], "8-4-1 must ascend from 1"),
        (["--engine_profiles", "[a]"], "a is neither a batch size nor"),
        (["--engine_profiles", "[0]"], "must ascend from 1"),
        (["--engine_optimization_level", "9"], "--engine_optimization_level: 9 is not 0 to 5"),
        (["--engine_precisions", "[]"], "at least one"),
        (["--engine_stem", "wide"], "--engine_stem: wide is not one of plain, padded, folded"),
        (["--engine_input", "hwc"], "--engine_input: hwc is not one of nchw, nhwc, nhwc8"),
        (["--engine_quantized", "here"], "--engine_quantized: here is not one of shortcuts, all"),
        (["--engine_precisions", "[fp8]"], "--engine_precisions"),
        (["--to", "engine", "--engine_python", "/no/such/python"], "--engine_python: cannot start /no/such/python"),
    ],
)
def test_bad_flags_are_one_line(exported, capsys, flags, said):
    """Exit status 2, naming the flag or the value."""
    try:
        status = exported.export(*flags)
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1)
    assert said in err


def test_profiles_are_ranges_or_single_batches():
    """One number is a static profile."""
    assert parse_profile("1-256-1024") == [1, 256, 1024]
    assert parse_profile(64) == [64, 64, 64]
    assert EngineSettings(["int8"], [[1, 1, 1]], None).level("int8") < EngineSettings([], [], None).level("fp16")


@pytest.mark.parametrize(
    ("version", "precision", "mode"),
    [
        ("8.6.0", "fp32", (("EXPLICIT_BATCH",), (), ("TF32",), None)),
        ("8.6.0", "tf32", (("EXPLICIT_BATCH",), ("TF32",), (), None)),
        ("8.6.0", "fp16", (("EXPLICIT_BATCH",), ("FP16",), ("TF32",), "HALF")),
        ("8.6.0", "int8", (("EXPLICIT_BATCH",), ("FP16", "INT8"), ("TF32",), "HALF")),
        ("10.3.0", "fp16", (("STRONGLY_TYPED",), (), ("TF32",), None)),
        ("11.1.0", "tf32", (("STRONGLY_TYPED",), ("TF32",), (), None)),
        ("11.1.0", "int8", (("STRONGLY_TYPED",), (), ("TF32",), None)),
    ],
)
def test_precision_is_asked_for_as_the_version_understands_it(version, precision, mode):
    """Flags up to 9, the graph from 10: TensorRT 11 has no precision flags at all."""
    assert choose_mode(version, precision) == mode


def test_the_opset_17_file_answers_like_the_exported_one(exported_once, tmp_path):
    """What TensorRT 8.6 is given: checked by ONNX's checker, run by ONNX Runtime."""
    path = write_opset17(exported_once.onnx, tmp_path / "opset17.onnx")
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    images = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(path, images), run_onnx(exported_once.onnx, images), atol=2e-5)
