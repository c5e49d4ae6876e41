"""What is read of a module that Torch-TensorRT compiled, and how the backend says what is missing."""

import hashlib
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from export.torch_trt_builder import choose_by_batch
from harness.backends import cuda
from harness.backends.base import BackendUnavailable, Spec, UnsupportedJob
from harness.backends.torch_trt import TorchTrtBackend
from harness.backends.torch_trt_graph import read_exported_program, read_torchscript

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # torch.jit is deprecated


class Inner(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x).flatten(1)


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x):
        return self.inner(x) + 1


class FakeValue:
    def __init__(self, name):
        self.name = name

    def debugName(self):  # noqa: N802 - torch's name
        return self.name


class FakeNode:
    """A node of a TorchScript graph, as far as it is read."""

    def __init__(self, kind, output, owner="", name="", blocks=()):
        self._kind, self._output, self._owner, self._name, self._blocks = kind, output, owner, name, blocks

    def blocks(self):
        return [SimpleNamespace(nodes=lambda nodes=nodes: nodes) for nodes in self._blocks]

    def kind(self):
        return self._kind

    def s(self, key):
        return self._name

    def input(self):
        return FakeValue(self._owner)

    def output(self):
        return FakeValue(self._output)


class FakeEngine:
    def get_engine_layer_info(self):
        tensor = [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]
        return json.dumps({"Layers": [{"LayerType": "CaskConvolution", "Inputs": tensor}]})


def make_compiled():
    """self.run_on_acc.engine, executed once, and one operation of PyTorch after it."""
    nodes = [
        FakeNode("prim::GetAttr", "acc", "self", "run_on_acc"),
        FakeNode("prim::GetAttr", "engine", "acc", "engine"),
        FakeNode("prim::ListConstruct", "inputs"),
        FakeNode("tensorrt::execute_engine", "outputs"),
        FakeNode("prim::ListUnpack", "unpacked"),
        FakeNode("aten::flatten", "flat"),
    ]
    graph = SimpleNamespace(inputs=lambda: [FakeValue("self"), FakeValue("x")], nodes=lambda: nodes)
    engine = FakeEngine()
    return SimpleNamespace(inlined_graph=graph, run_on_acc=SimpleNamespace(engine=engine)), engine


def test_engines_and_what_fell_back_are_counted():
    """The engine is found through submodules; only aten::flatten ran in PyTorch."""
    module, engine = make_compiled()
    contents = read_torchscript(module)
    assert contents.engines == [engine]
    assert contents.count() == {"trt_engines": 1, "torch_ops": {"aten::flatten": 1}}


def test_engines_in_the_branches_of_a_choice_are_found():
    """One for each range of batch sizes; choosing between them is no work of PyTorch's."""
    engines = FakeEngine(), FakeEngine()
    branches = [
        [FakeNode("prim::GetAttr", name, "self", name), FakeNode("tensorrt::execute_engine", name)]
        for name in ("first", "last")
    ]
    outer = [
        FakeNode("aten::size", "n"),
        FakeNode("aten::ge", "fits"),
        FakeNode("prim::If", "y", blocks=branches),
        FakeNode("aten::gelu", "z"),
    ]
    graph = SimpleNamespace(inputs=lambda: [FakeValue("self")], nodes=lambda: outer)
    contents = read_torchscript(SimpleNamespace(inlined_graph=graph, first=engines[0], last=engines[1]))
    assert contents.engines == list(engines)
    assert contents.count() == {"trt_engines": 2, "torch_ops": {"aten::gelu": 1}}


def test_what_the_export_makes_of_several_is_read(tmp_path):
    """The real graph of a choice, saved and loaded again: each part is called in one place."""
    parts = [torch.jit.trace(Outer(), torch.zeros(2, 3, 4)) for _ in range(2)]
    choose_by_batch(parts, [[1, 4, 8], [1, 1, 1]]).save(tmp_path / "m.pt")
    contents = read_torchscript(torch.jit.load(tmp_path / "m.pt"))
    assert contents.count()["torch_ops"] == {"aten::add": 2, "aten::flatten": 2, "aten::relu": 2}


def test_a_real_torchscript_module_without_an_engine_is_all_pytorch():
    """Torch's own graph, submodules included."""
    module = torch.jit.trace(Outer(), torch.zeros(2, 3, 4))
    assert read_torchscript(module).count() == {
        "trt_engines": 0, "torch_ops": {"aten::add": 1, "aten::flatten": 1, "aten::relu": 1},
    }  # fmt: skip


def test_a_real_exported_program_is_read_too():
    """What today's releases save."""
    module = torch.export.export(Outer(), (torch.zeros(2, 3, 4),)).module()
    contents = read_exported_program(module)
    assert (contents.calls, sum(contents.torch_ops.values())) == (0, 3)


class Constant(torch.nn.Module):
    """Answers `value` for every image: which part of a file has run."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.zeros(x.size(0), 1) + self.value


@pytest.mark.usefixtures("library")
def test_the_row_names_the_profile_whose_part_ran(tmp_path):
    """Overlapping ranges too, of which two are equally wide: the first that was asked for takes what both hold."""
    profiles = [[1, 16, 16], [4, 4, 8], [5, 5, 20], [1, 1, 1]]
    parts = [torch.jit.script(Constant(float(number))) for number in range(len(profiles))]
    stream = io.BytesIO()
    torch.jit.save(choose_by_batch(parts, profiles), stream)
    backend = TorchTrtBackend()
    backend.load(make_spec(tmp_path, stream.getvalue(), profiles=profiles))
    for batch in range(1, 21):
        backend.bind(np.zeros((batch, 3, 2, 2), np.float32))
        backend.run()
        assert backend.executed()["profile"] == profiles[int(backend.logits()[0, 0])]


def make_spec(folder, content, profiles=((1, 4, 8),), **changes):
    path = folder / "resnet18_8_fp32_torch_trt_dynamo.pt"
    path.write_bytes(content)
    manifest = {"form": "torchscript", "tensorrt": "8.6.0", "profiles": profiles, "build_s": 30.0}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    sha256 = hashlib.sha256(content).hexdigest()
    spec = Spec("dynamo", "fp32", 4, "cuda", 1, "resnet18", 12, folder / "w.pth", path, sha256)
    return Spec(**{**vars(spec), **changes})


@pytest.fixture
def library(monkeypatch):
    """An importable torch_tensorrt, and a torch whose GPU is the CPU."""
    monkeypatch.setitem(sys.modules, "torch_tensorrt", SimpleNamespace(__version__="2.2.0"))
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    fakes = {
        "is_available": lambda: True, "synchronize": lambda: None, "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: None, "max_memory_allocated": lambda: 2e6,
    }  # fmt: skip
    for name, function in fakes.items():
        monkeypatch.setattr(torch.cuda, name, function)


@pytest.fixture
def saved():
    """A TorchScript file's bytes."""
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(Outer(), torch.zeros(2, 3, 2, 2)), stream)
    return stream.getvalue()


def test_a_saved_module_is_loaded_and_answers(library, tmp_path, saved):
    """From verified bytes; evidence and versions are in the row."""
    backend = TorchTrtBackend()
    backend.load(make_spec(tmp_path, saved))
    images = np.random.default_rng(0).standard_normal((3, 3, 2, 2)).astype(np.float32)
    backend.bind(images)
    backend.run()
    np.testing.assert_allclose(backend.logits(), np.maximum(images, 0).reshape(3, -1) + 1, rtol=1e-6)
    assert backend.executed()["trt_engines"] == 0
    assert (backend.executed()["build_s"], backend.executed()["form"]) == (30.0, "torchscript")
    assert backend.versions["torch_tensorrt"] == "2.2.0"
    with pytest.raises(UnsupportedJob, match=r"batches of 1\.\.8"):
        backend.bind(np.zeros((9, 3, 2, 2), np.float32))


def test_a_swapped_module_is_not_loaded(library, tmp_path, saved, monkeypatch):
    """TorchScript files run code when they are loaded."""
    spec = make_spec(tmp_path, saved)
    spec.artifact.write_bytes(saved + b"\0")
    monkeypatch.setattr(torch.jit, "load", pytest.fail)
    with pytest.raises(BackendUnavailable, match="sha256 differs"):
        TorchTrtBackend().load(spec)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"precision": "int8"}, UnsupportedJob, "torch_trt offers fp32, tf32, fp16"),
        ({"device": "cpu"}, BackendUnavailable, "needs an NVIDIA GPU"),
        ({"artifact": None}, BackendUnavailable, "--to torch_trt"),
    ],
)
@pytest.mark.usefixtures("library")
def test_what_is_missing_is_named(tmp_path, saved, changes, error, said):
    """With the mend where there is one."""
    with pytest.raises(error, match=said):
        TorchTrtBackend().load(make_spec(tmp_path, saved, **changes))


def test_a_runtime_error_while_importing_is_the_reason(monkeypatch, tmp_path, saved):
    """What torch_tensorrt 2.2 raises where there is no GPU."""
    (tmp_path / "torch_tensorrt.py").write_text("raise RuntimeError('Unable to get current device')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)
    with pytest.raises(BackendUnavailable, match="cannot import torch_tensorrt: Unable to get current device"):
        TorchTrtBackend().load(make_spec(tmp_path, saved))
