"""Torch-TensorRT is called as its releases want it: checked against the signatures in the published wheels' source.

fixtures/torch_tensorrt_signatures.json was read, by ast, from the wheels torch_tensorrt 2.2.0 (CPython 3.10) and 2.14.0
(3.12): parameters by function; `**kwargs` is where a misspelt one would vanish unseen.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision

from export import torch_trt_builder
from export.torch_trt_builder import (
    build,
    choose_by_batch,
    compile_arguments,
    pool_by_mean,
    read_version,
    select_profiles,
    shortcuts_first,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # torch.jit is deprecated
SIGNATURES = json.loads((Path(__file__).parents[1] / "fixtures" / "torch_tensorrt_signatures.json").read_text())


@pytest.mark.parametrize("release", SIGNATURES)
@pytest.mark.parametrize("frontend", ["dynamo", "torchscript"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_every_argument_is_a_named_parameter_of_the_release(release, frontend, precision):
    """None may end in `**kwargs`, where dynamo ignores it: `enabled_precisions` does so since 2.10."""
    arguments = compile_arguments(read_version(release), frontend, precision, 3)
    named = SIGNATURES[release]["ts_compile" if frontend == "torchscript" else "dynamo_compile"]
    assert arguments.pop("ir") == ("ts" if frontend == "torchscript" else "dynamo")
    assert set(arguments) <= set(named), set(arguments) - set(named)
    assert {"module", "ir", "inputs"} <= set(SIGNATURES[release]["compile"])
    assert arguments["disable_tf32"] is (precision != "tf32")


def test_half_precision_is_asked_for_where_the_release_reads_it():
    """2.2 needs the argument; today's dynamo has none and takes the module's type."""
    assert compile_arguments((2, 2), "dynamo", "fp16", 3)["enabled_precisions"] == {torch.float16}
    assert compile_arguments((2, 2), "dynamo", "fp16", 3)["output_format"] == "torchscript"
    assert "enabled_precisions" not in SIGNATURES["2.14.0"]["dynamo_compile"]
    assert "output_format" not in SIGNATURES["2.14.0"]["dynamo_compile"]
    assert compile_arguments((2, 14), "torchscript", "fp16", 3)["enabled_precisions"] == {torch.float16}


@pytest.mark.parametrize("version", [(2, 0), (2, 5), (2, 9)])
def test_releases_whose_calls_were_not_checked_are_refused(version):
    """Better than a silent fp32."""
    with pytest.raises(ValueError, match="is not known here"):
        compile_arguments(version, "dynamo", "fp16", 3)


def test_versions_are_read_with_their_local_part():
    """As torch_tensorrt.__version__ has it."""
    assert read_version("2.14.0+cu130") == (2, 14)


class FakeTorchTrt:
    """Records the calls; a compiled module is the network itself."""

    def __init__(self, release):
        self.__version__, self.named, self.inputs = release, SIGNATURES[release], []
        self.dynamo = SimpleNamespace(Debugger=self.debugger)

    def Input(self, **limits):  # noqa: N802 - the library's name
        assert set(limits) <= set(self.named["Input"])
        self.inputs.append(limits)
        return "an input"

    def compile(self, module, inputs, **arguments):
        assert inputs == ["an input"]
        self.compiled, self.arguments = module, arguments
        return torch.jit.trace(module, torch.zeros(1, 3, 32, 32)) if self.__version__ == "2.2.0" else module

    def debugger(self, **arguments):
        assert set(arguments) <= set(self.named["Debugger"])
        return torch.no_grad()

    def save(self, module, file_path, **arguments):
        assert set(arguments) <= set(self.named["save"])
        Path(file_path).write_bytes(b"an exported program")


@pytest.fixture
def request_fields(tmp_path):
    """What the export asks for."""
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "w.pth")
    return {
        "weights": str(tmp_path / "w.pth"), "arch": "resnet18", "arch_arguments": {}, "num_classes": 10,
        "image_size": 32, "out": str(tmp_path / "out.pt"),
        "precision": "fp32", "profiles": [[1, 4, 8]], "optimization_level": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("release", "frontend", "form"),
    [
        ("2.2.0", "dynamo", "torchscript"),
        ("2.2.0", "torchscript", "torchscript"),
        ("2.14.0", "dynamo", "exported_program"),
        ("2.14.0", "torchscript", "torchscript"),
    ],
)
def test_the_module_is_compiled_with_a_dynamic_profile_and_saved(monkeypatch, request_fields, release, frontend, form):
    """The dynamic input is named as torchvision's forward names it; a saved TorchScript file can be loaded again."""
    library = FakeTorchTrt(release)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", library)
    monkeypatch.setattr(torch_trt_builder, "DEVICE", "cpu")
    fields = build(**request_fields, frontend=frontend)
    assert fields["form"] == form
    (limits,) = library.inputs
    assert [limits[name][0] for name in ("min_shape", "opt_shape", "max_shape")] == [1, 4, 8]
    assert limits["name"] == "x"
    assert isinstance(library.compiled, torch.jit.ScriptModule) is (frontend == "torchscript")
    assert "batch_norm" not in str(getattr(library.compiled, "inlined_graph", library.compiled))
    assert not [name for name, _ in library.compiled.named_modules() if "bn" in name]
    assert fields["build_s"] >= 0
    if form == "torchscript":
        assert torch.jit.load(request_fields["out"])(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    else:
        assert Path(request_fields["out"]).read_bytes() == b"an exported program"


@pytest.mark.parametrize("frontend", ["dynamo", "torchscript"])
def test_a_torchscript_file_holds_a_module_for_each_profile(monkeypatch, request_fields, frontend):
    """Whatever batch comes, the answers are the network's; one batch size alone is compiled for its shape."""
    library = FakeTorchTrt("2.2.0")
    monkeypatch.setitem(sys.modules, "torch_tensorrt", library)
    monkeypatch.setattr(torch_trt_builder, "DEVICE", "cpu")
    build(**{**request_fields, "profiles": [[1, 4, 8], [1, 1, 1]]}, frontend=frontend)
    assert [sorted(set(limits) - {"dtype", "name"}) for limits in library.inputs] == [
        ["max_shape", "min_shape", "opt_shape"], ["shape"],
    ]  # fmt: skip
    module = torch.jit.load(request_fields["out"])
    network = torchvision.models.resnet18(num_classes=10).eval()
    network.load_state_dict(torch.load(request_fields["weights"], weights_only=True))
    for batch in (1, 2, 8):
        images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
        torch.testing.assert_close(module(images), network(images))


class Named(torch.nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x.sum() * 0 + self.number


@pytest.mark.parametrize(("batch", "number"), [(1, 2), (2, 1), (8, 1), (9, 0), (16, 0), (17, 0)])
def test_a_batch_takes_the_narrowest_profile_that_holds_it(batch, number):
    """As the harness says in `executed.profile`; one too large goes to the widest, whose engine refuses it."""
    parts = [torch.jit.script(Named(float(each))) for each in range(3)]
    module = choose_by_batch(parts, [[1, 4, 16], [2, 4, 8], [1, 1, 1]])
    assert module(torch.zeros(batch, 1)) == number


def test_a_choice_of_parts_calls_none_of_their_methods():
    """On an H200, release 2.2's TorchScript parts could not be saved otherwise: their methods are misnamed."""
    parts = [torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)) for _ in range(2)]
    assert parts[0].graph.findAllNodes("aten::linear")
    module = choose_by_batch(parts, [[1, 4, 16], [1, 1, 1]])
    assert len(module.graph.findAllNodes("aten::linear")) == 2
    assert not module.graph.findAllNodes("prim::CallMethod")


@pytest.mark.parametrize(
    ("release", "frontend", "count"), [("2.2.0", "dynamo", 2), ("2.14.0", "torchscript", 2), ("2.14.0", "dynamo", 1)]
)
def test_an_exported_program_holds_the_first_profile_alone(release, frontend, count):
    """It has no conditions on the batch size."""
    assert len(select_profiles(read_version(release), frontend, [[1, 4, 8], [1, 1, 1]])) == count


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small"])
def test_the_network_is_compiled_without_a_reshape_of_the_batch(arch):
    """On an H100, release 2.2 refused `reshape(mean, [batch, 512])`: its converter takes no tensor for a dimension."""
    network = torchvision.models.get_model(arch, weights=None, num_classes=10).eval()
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = network(images)
    pooled = pool_by_mean(network)
    torch.testing.assert_close(pooled(images), expected)
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=8)}}
    program = torch.export.export(pooled, (images,), dynamic_shapes=dynamic).run_decompositions()
    targets = [str(node.target) for node in program.graph.nodes]
    assert not [target for target in targets if any(word in target for word in ("view", "reshape", "flatten"))]


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "mobilenet_v3_small"])
def test_shortcuts_come_first_and_the_answers_stay(arch):
    """Each shortcut of 1 x 1 runs right after what it reads, and is the first operand of its sum."""
    network = torchvision.models.get_model(arch, weights=None, num_classes=10).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = network(images)
    ordered = shortcuts_first(torch.fx.symbolic_trace(pool_by_mean(network)))
    torch.testing.assert_close(ordered(images), expected)
    sums = [node for node in ordered.graph.nodes if node.target in torch_trt_builder.SUMS]
    assert sums
    shortcuts = [str(node.args[0].target) for node in sums if "downsample" in str(node.args[0].target)]
    assert len(shortcuts) == {"resnet18": 3, "resnet50": 4}.get(arch, 0)
    assert not [node for node in sums if "downsample" in str(node.args[1].target)]


class Scaled(torch.nn.Module):
    def forward(self, x):
        return torch.add(x.relu(), x, alpha=2) + 1


def test_a_sum_that_is_more_than_a_sum_is_left_alone():
    """One operand counts twice, another is a number: neither may be swapped."""
    ordered = shortcuts_first(torch.fx.symbolic_trace(Scaled()))
    images = torch.tensor([-1.0, 2.0])
    assert ordered(images).tolist() == [-1.0, 7.0]


def test_a_shortcut_that_is_a_convolution_alone_is_moved_before_the_branch():
    """As `fuse` leaves it, without its BatchNorm."""
    network = torch_trt_builder.fuse(torchvision.models.resnet18(weights=None).eval())
    targets = [str(node.target) for node in shortcuts_first(network).graph.nodes]
    assert targets.index("layer2.0.downsample.0") == targets.index("layer2.0.conv1") - 1


def test_another_pooling_is_left_alone():
    """VGG pools to 7 x 7, and flattens that."""
    network = torchvision.models.vgg11(weights=None, num_classes=10)
    assert pool_by_mean(network).avgpool.output_size == (7, 7)
