"""The builder's process from inside, with a fake TensorRT and a fake GPU, whose time passes as the former says."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from export import engine_timer, tensorrt_builder
from export.to_opset17 import write_opset17

FAKES = Path(__file__).parents[1] / "fakes"
CLASSES = 10


@pytest.fixture(params=["8.6.0", "11.1.0"])
def tensorrt(request, monkeypatch):
    """A fake TensorRT of either generation, and a fake torch with a GPU."""
    monkeypatch.setenv("FAKE_TENSORRT", request.param)
    monkeypatch.setenv("FAKE_MS", "")
    modules = {}
    for name, path in (("tensorrt", FAKES / "tensorrt.py"), ("torch", FAKES / "gpu" / "torch.py")):
        spec = importlib.util.spec_from_file_location(name, path)
        modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    monkeypatch.setattr(engine_timer.importlib, "import_module", modules.__getitem__)
    tensorrt_builder.open_builder.cache_clear()
    yield modules["tensorrt"]
    tensorrt_builder.open_builder.cache_clear()


def write_engine(folder, limits=(1, 16, 64), form="LINEAR"):
    io = [["images", "HALF", [-1, 3, 8, 8]], ["logits", "HALF", [-1, CLASSES]]]
    built = {"io": io, "profiles": [[[batch, 3, 8, 8] for batch in limits]], "level": 0, "format": form}
    (folder / "fake.engine").write_text(json.dumps(built))
    images = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    np.save(folder / "images.npy", images)
    paths = {"engine": "fake.engine", "images": "images.npy", "out": "answers.npz"}
    return images, {name: str(folder / path) for name, path in paths.items()}


@pytest.mark.parametrize(("layout", "form"), [("nchw", "LINEAR"), ("nhwc", "HWC"), ("nhwc8", "HWC8")])
def test_each_batch_size_is_timed_and_answers(tensorrt, tmp_path, layout, form):
    """Times of the fake are 10 us per image; images are repeated to fill a batch, and the first n answers returned."""
    images, paths = write_engine(tmp_path, form=form)
    answer = engine_timer.time_engine(**paths, batch_sizes=[2, 12], seconds=0.01, input_layout=layout)
    assert list(answer["samples_ms"]) == ["2", "12"]
    for batch_size, samples in answer["samples_ms"].items():
        np.testing.assert_allclose(samples, int(batch_size) * 0.01, rtol=1e-6)
        assert len(samples) > 1
    expected = images.mean(axis=(1, 2, 3))[:, None] * np.arange(CLASSES)
    with np.load(tmp_path / "answers.npz") as answers:
        np.testing.assert_allclose(answers["2"], expected[:2], atol=2e-3)
        np.testing.assert_allclose(answers["12"], expected, atol=2e-3)


def test_a_batch_outside_the_profile_is_refused(tensorrt, tmp_path):
    """With the shape that was refused."""
    _, paths = write_engine(tmp_path, (1, 1, 1))
    with pytest.raises(RuntimeError, match=r"does not take images of shape \(2, 3, 8, 8\)"):
        engine_timer.time_engine(**paths, batch_sizes=[2], seconds=0.01)


def test_the_first_inference_of_a_window_is_not_timed():
    """An event on an idle device is stamped at once, so what follows would hold the host's launch."""
    calls = []

    class Graph:
        def replay(self):
            calls.append("replay")

    class Torch:
        class cuda:  # noqa: N801 - torch's name
            synchronize = staticmethod(lambda: calls.append("wait"))

            class Event:
                def __init__(self, enable_timing):
                    pass

                def record(self):
                    calls.append("event")

                def elapsed_time(self, later):
                    return 1e9

    assert engine_timer.collect_samples(Torch, Graph(), 0) == [1e9]
    assert calls == ["replay", "event", "replay", "event", "wait"]


@pytest.mark.parametrize(
    ("sources", "external"),
    [("default", None), ("own", False), ("all", True)],
)
def test_tactic_sources_are_asked_for_as_the_version_has_them(tensorrt, sources, external):
    """8.6 has a preview feature that keeps the libraries out; 11 has only its own kernels."""
    config = tensorrt.Config()
    tensorrt_builder.choose_tactics(tensorrt, config, 8, sources)
    own = ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
    libraries = ["CUBLAS", "CUBLAS_LT", "CUDNN"] if external and tensorrt.OLD else []
    assert config.sources == (None if external is None else libraries + own)
    assert config.external is (bool(external) or not tensorrt.OLD)
    assert config.avg_timing_iterations == 8


def test_engines_are_built_by_one_builder_until_it_fails(tensorrt, exported_once, tmp_path, monkeypatch):
    """TensorRT loads its kernels for each new one; after a refusal, perhaps for want of memory, a new one is safer."""
    made = []
    monkeypatch.setattr(tensorrt.Builder, "__init__", lambda builder, logger: made.append(builder))
    onnx = str(write_opset17(exported_once.onnx, tmp_path / "opset17.onnx"))
    request = {
        "onnx": onnx, "out": str(tmp_path / "fake.engine"), "precision": "fp16", "profiles": [[1, 2, 4]],
        "optimization_level": 3, "timing_cache": str(tmp_path / "timing.cache"),
    }  # fmt: skip
    for _ in range(2):
        tensorrt_builder.build(**request)
    assert len(made) == 1
    monkeypatch.setenv("FAKE_FAULT", "refuses")
    with pytest.raises(RuntimeError, match="could not build the engine"):
        tensorrt_builder.build(**request)
    monkeypatch.delenv("FAKE_FAULT")
    tensorrt_builder.build(**request)
    assert len(made) == 2
