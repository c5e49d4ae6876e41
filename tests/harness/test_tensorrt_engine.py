"""The native TensorRT backend on a fake TensorRT that reads and writes through the addresses it is given."""

import hashlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.backends import cuda
from harness.backends.base import BackendUnavailable, Spec, UnsupportedJob
from harness.backends.engine_profiles import Profile, choose_profile
from harness.backends.tensorrt_engine import TensorRtEngineBackend
from harness.parity import find_contradiction

FAKE = Path(__file__).parents[1] / "fakes" / "tensorrt.py"
CLASSES = 10


class FakeStream:
    cuda_stream = 7

    def synchronize(self):
        pass


class FakeGraph:
    """Replays by calling: what a CUDA graph does, seen from outside."""

    def __init__(self, step):
        self.replay = step


@pytest.fixture(params=["8.6.0", "11.1.0"])
def tensorrt(request, monkeypatch):
    """A fake TensorRT of either generation, and a torch whose GPU is the CPU."""
    monkeypatch.setenv("FAKE_TENSORRT", request.param)
    spec = importlib.util.spec_from_file_location("tensorrt", FAKE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "capture", lambda step: (FakeGraph(step), step()))
    fakes = {
        "is_available": lambda: True, "current_stream": FakeStream, "synchronize": lambda: None,
        "empty_cache": lambda: None, "reset_peak_memory_stats": lambda: None, "max_memory_allocated": lambda: 2e6,
    }  # fmt: skip
    for name, function in fakes.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return module


def make_spec(folder, dtype="fp16", precision="fp16", variant="default", layout="nchw", **changes):
    """A Spec for an engine file in `folder` whose layers compute in `dtype`."""
    io = "FLOAT" if precision in ("fp32", "tf32") else "HALF"
    built = {
        "dtype": dtype, "tf32": precision == "tf32", "verbosity": "DETAILED",
        "io": [["images", io, [-1, 3, 8, 8]], ["logits", io, [-1, CLASSES]]],
        "profiles": [[[batch, 3, 8, 8] for batch in limits] for limits in ((1, 16, 64), (1, 1, 1))], **changes,
    }  # fmt: skip
    path = folder / "resnet18_8_fp16.engine"
    path.write_bytes(json.dumps(built).encode())
    manifest = {"build_s": 3.5, "optimization_level": 3, "classes": ["a"], "input_layout": layout}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Spec(variant, precision, 8, "cuda", 1, "resnet18", CLASSES, folder / "w.pth", path, sha256)


def load(spec):
    backend = TensorRtEngineBackend()
    backend.load(spec)
    return backend


def answer(backend, images):
    backend.bind(images)
    backend.run()
    return backend.logits()


@pytest.mark.parametrize(("layout", "form"), [("nchw", "LINEAR"), ("nhwc", "HWC"), ("nhwc8", "HWC8")])
@pytest.mark.parametrize("variant", ["default", "graph"])
def test_it_answers_through_the_bound_buffers(tensorrt, tmp_path, variant, layout, form):
    """Two batch sizes one after the other, then other images of the same size in the same buffers."""
    backend = load(make_spec(tmp_path, variant=variant, layout=layout, format=form))
    for batch, seed in ((4, 0), (7, 1), (7, 2)):
        images = np.random.default_rng(seed).standard_normal((batch, 3, 8, 8)).astype(np.float32)
        expected = images.mean(axis=(1, 2, 3))[:, None] * np.arange(CLASSES)
        np.testing.assert_allclose(answer(backend, images), expected, atol=2e-3)
    assert backend.executed()["graph"] is (variant == "graph")
    assert backend.executed()["input_layout"] == layout
    assert backend.executed()["dtype"] == "float16"


@pytest.mark.parametrize("variant", ["default", "graph"])
def test_each_handle_answers_from_its_own_batch_whichever_was_bound_last(tensorrt, tmp_path, variant):
    """One for each size of a server: 1 and 4, then 1 again; 4 and 7 share a profile, which 8.6 gives one context."""
    backend = load(make_spec(tmp_path, variant=variant))
    rng = np.random.default_rng(0)
    handles = {size: backend.share() for size in (1, 4, 7)}
    for size, handle in handles.items():
        handle.bind(rng.standard_normal((size, 3, 8, 8)).astype(np.float32))
    for size, handle in handles.items():
        images = rng.standard_normal((size, 3, 8, 8)).astype(np.float32) + size
        expected = images.mean(axis=(1, 2, 3))[:, None] * np.arange(CLASSES)
        np.testing.assert_allclose(answer(handle, images), expected, rtol=2e-3, atol=2e-3)
    assert [handle.executed()["profile"] for handle in handles.values()] == [[1, 1, 1], [1, 16, 64], [1, 16, 64]]


def test_an_engine_swapped_after_its_load_is_not_loaded_for_a_handle(tensorrt, tmp_path):
    """Each handle reads the file, so each compares its bytes."""
    spec = make_spec(tmp_path)
    backend = load(spec)
    spec.artifact.write_bytes(spec.artifact.read_bytes() + b" ")
    with pytest.raises(BackendUnavailable, match=r"sha256 differs.* was not loaded"):
        backend.share()


def test_the_row_tells_versions_profile_build_time_and_memory(tensorrt, tmp_path):
    """What can be read from the library is; the engine's memory counts beside torch's."""
    backend = load(make_spec(tmp_path))
    answer(backend, np.zeros((1, 3, 8, 8), np.float32))
    executed = backend.executed()
    assert (executed["profile"], executed["build_s"], executed["layers"]) == ([1, 1, 1], 3.5, 21)
    assert executed["compute_dtypes"] == {"fp16": 21}
    assert backend.versions["tensorrt"] == tensorrt.__version__
    assert backend.gpu_memory_mb() == 5.0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fp32_convolutions_contradict_a_reduced_label(tensorrt, tmp_path, precision):
    """TensorRT may ignore what was asked for; the inspector says so, and the row becomes failed_parity."""
    backend = load(make_spec(tmp_path, dtype="fp32", precision=precision))
    answer(backend, np.zeros((2, 3, 8, 8), np.float32))
    fault = find_contradiction(backend.executed(), precision)
    assert fault == f"labelled {precision}, but its compute layers ran as: 21 fp32"


def test_tf32_kernels_contradict_the_fp32_label(tensorrt, tmp_path):
    """The tactic's name tells; under the label tf32 they are right."""
    backend = load(make_spec(tmp_path, dtype="fp32", precision="tf32"))
    answer(backend, np.zeros((2, 3, 8, 8), np.float32))
    assert "21 tf32" in find_contradiction(backend.executed(), "fp32")
    assert find_contradiction(backend.executed(), "tf32") == ""


def test_a_swapped_engine_is_not_loaded(tensorrt, tmp_path):
    """Loading runs code, so the bytes are compared before TensorRT sees them."""
    spec = make_spec(tmp_path)
    spec.artifact.write_bytes(spec.artifact.read_bytes() + b" ")
    tensorrt.Runtime.deserialize_cuda_engine = pytest.fail
    with pytest.raises(BackendUnavailable, match=r"sha256 differs.* was not loaded"):
        load(spec)


def test_an_engine_that_tensorrt_refuses_is_unavailable(tensorrt, tmp_path):
    """Built for another GPU or version: TensorRT answers with None."""
    spec = make_spec(tmp_path)
    spec.artifact.write_bytes(b"another format")
    sha256 = hashlib.sha256(b"another format").hexdigest()
    with pytest.raises(BackendUnavailable, match=f"TensorRT {tensorrt.__version__} cannot load the engine"):
        load(replace(spec, artifact_sha256=sha256))


def test_batches_outside_the_profiles_are_unsupported(tensorrt, tmp_path):
    """The reason names what the engine takes, and the flag."""
    backend = load(make_spec(tmp_path))
    with pytest.raises(UnsupportedJob, match=r"batches of 1\.\.64, 1\.\.1: export with another --engine_profiles"):
        backend.bind(np.zeros((65, 3, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("batch", "number"), [(1, 2), (2, 1), (8, 1), (9, 0), (1024, 0)]
)  # fmt: skip
def test_the_narrowest_profile_is_chosen(batch, number):
    """A static profile for its batch, else the smaller range."""
    profiles = [Profile(0, 1, 256, 1024), Profile(1, 1, 4, 8), Profile(2, 1, 1, 1)]
    assert choose_profile(profiles, batch).number == number


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"device": "cpu"}, BackendUnavailable, "tensorrt_engine needs an NVIDIA GPU"),
        ({"precision": "bf16"}, UnsupportedJob, "tensorrt_engine offers fp32, tf32, fp16, int8"),
        ({"artifact": None}, BackendUnavailable, r"--image_size 8 --to engine --engine_precisions '\[fp16\]'"),
    ],
)
def test_what_is_missing_is_named(tensorrt, tmp_path, changes, error, said):
    """One line each, with the mend."""
    with pytest.raises(error, match=said):
        load(Spec(**{**vars(make_spec(tmp_path)), **changes}))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise RuntimeError('Unable to get current\\n device')",
            "cannot import tensorrt: Unable to get current device",
        ),
        (
            "raise ImportError('libnvinfer.so.11: cannot open shared object file')",
            "needs libnvinfer.so.11: libnvinfer.so.11: cannot open shared object file",
        ),
        ("raise Exception()", "cannot import tensorrt: Exception"),
        ("import no_such_module", "No module named 'no_such_module': run `make setup-tensorrt`"),
    ],
)
def test_whatever_its_import_raises_becomes_the_reason(monkeypatch, tmp_path, code, said):
    """ImportError, RuntimeError or a bare Exception: a row that says so, never a stop."""
    (tmp_path / "tensorrt.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(BackendUnavailable, match=said.replace(".", r"\.")):
        load(make_spec(tmp_path))
