"""Which compilation serves which batch size, counted by PyTorch's own counter."""

import copy
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from harness.backends.base import Spec
from harness.backends.compiled import Compiled
from harness.backends.pytorch import PyTorchBackend

# no convolution: on a CPU PyTorch compiles those again below 16 images
NETWORK = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def make_images(batch_size):
    """Random, in the memory format of every compiled variant."""
    return torch.randn(batch_size, 3, 8, 8).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("shared", "compilations"), [(True, 2), (False, 4)])
def test_all_batch_sizes_but_one_can_share_a_compilation(shared, compilations):
    """Batches 1, 4, 7 and 100: those of 1 and of all others, or each its own. Answers are the network's."""
    counter = CompileCounter()
    compiled = Compiled(NETWORK.eval(), shared=shared, backend=counter)
    with torch.inference_mode():
        for batch_size in (1, 4, 7, 100):
            images = make_images(batch_size)
            torch.testing.assert_close(compiled.get(images)(images), NETWORK(images))
    assert counter.frame_count == compilations
    assert (compiled.build_ms(100) > 0) == shared


@pytest.mark.parametrize(
    ("shared", "batch_sizes"), [(True, [2, 512, 4, 7]), (True, [1]), (False, [4])], ids=["shared", "one", "its own"]
)
def test_what_is_built_ahead_is_not_compiled_again(shared, batch_sizes):
    """Nothing is run by building, nor compiled by inferring; answers are the network's, and the time is known."""
    counter, runs = CompileCounter(), []

    def compile_counted(graph, examples):
        run = counter(graph, examples)
        return lambda *inputs: (runs.append(1), run(*inputs))[1]

    compiled = Compiled(NETWORK.eval(), shared=shared, backend=compile_counted)
    ahead, inferred = (
        make_images(batch_sizes[0]),
        [make_images(batch_size) for batch_size in (*batch_sizes, batch_sizes[0])],
    )
    with torch.inference_mode():
        compiled.build(ahead)
        assert (counter.frame_count, runs) == (1, [])
        for images in inferred:
            torch.testing.assert_close(compiled.get(images)(images), NETWORK(images))
            assert compiled.is_shared(len(images)) is (shared and len(images) > 1)
            assert compiled.build_ms(len(images)) > 0
    assert (counter.frame_count, len(runs)) == (1, len(inferred))


def test_a_batch_size_that_was_not_built_ahead_is_compiled_in_its_place():
    """And so is the first one again: what another batch size holds is not in memory meanwhile."""
    counter = CompileCounter()
    compiled = Compiled(NETWORK.eval(), shared=False, backend=counter)
    with torch.inference_mode():
        compiled.build(make_images(2))
        for batch_size in (2, 3, 2):
            images = make_images(batch_size)
            compiled.get(images)(images)
    assert counter.frame_count == 3


def test_a_failed_build_leaves_compilations_that_run():
    """The exception is the compiler's own, and a later compilation is run as ever."""
    compiled = Compiled(NETWORK.eval(), shared=False, backend=refuse)
    images = make_images(2)
    with torch.inference_mode():
        with pytest.raises(Exception, match="no such kernel"):
            compiled.build(images)
        compiled.backend = CompileCounter()
        torch.testing.assert_close(compiled.get(images)(images), NETWORK(images))


def refuse(graph, examples):
    raise RuntimeError("no such kernel")


def test_images_made_outside_inference_mode_share_a_compilation():
    """As the backend makes them; PyTorch would compile again for an example that is an inference tensor."""
    counter = CompileCounter()
    compiled = Compiled(NETWORK.eval(), shared=True, backend=counter)
    for images in map(make_images, (1, 4, 7)):
        with torch.inference_mode():
            compiled.get(images)(images)
    assert counter.frame_count == 2


def test_a_compilation_for_batch_size_one_ends_the_shared_one():
    """PyTorch drops all compilations at once, so the shared one is made again when it is asked for."""
    counter = CompileCounter()
    compiled = Compiled(NETWORK.eval(), shared=True, backend=counter)
    with torch.inference_mode():
        for batch_size in (4, 1, 8):
            images = make_images(batch_size)
            compiled.get(images)(images)
    assert counter.frame_count == 3


def test_an_earlier_model_s_memory_is_given_back_before_the_next_job(monkeypatch):
    """The driver's figure of a job counts from when it is asked for: what an earlier model held would be in it."""
    backend, done = PyTorchBackend(), []

    class Stop(Exception):  # noqa: N818 - before a GPU is needed
        pass

    def stop():
        raise Stop

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("harness.backends.pytorch.free_memory", stop)
    monkeypatch.setattr(backend, "drop", lambda: done.append("dropped"))
    with pytest.raises(Stop):
        backend.load(Spec("eager", "fp32", 16, "cuda", torch.get_num_threads(), "small", 5, Path("none.pth"), None))
    assert done == ["dropped"]


@pytest.mark.slow  # Inductor's C++ compiler
def test_the_pytorch_backend_binds_what_it_built(tmp_path, monkeypatch):
    """A small convolutional network on the CPU: a batch size is compiled by `build`, not by `bind`."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, 5),
    ).eval()  # fmt: skip
    monkeypatch.setattr("torchvision.models.get_model", lambda *names, **options: copy.deepcopy(network))
    weights = tmp_path / "weights.pth"
    torch.save(network.state_dict(), weights)
    backend = PyTorchBackend()
    backend.load(Spec("compile", "fp32", 16, "cpu", 1, "small", 5, weights, None))
    compilations = counters["stats"]
    before = compilations["unique_graphs"]
    for number, batch_size in enumerate((1, 4), start=1):
        backend.build([batch_size])
        assert compilations["unique_graphs"] == before + number
        images = torch.randn(batch_size, 3, 16, 16)
        backend.bind(images.numpy())
        backend.run()
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(backend.logits()), network(images), rtol=1e-4, atol=1e-5)
        assert backend.build_ms() > backend.compiled.build_ms(batch_size) > 0
        assert backend.executed()["dynamic_batch"] is False
        assert compilations["unique_graphs"] == before + number
    backend.drop()
