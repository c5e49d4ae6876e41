"""Which compilation serves which batch size, counted by PyTorch's own counter."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from harness.backends.compiled import Compiled

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
    assert (compiled.shared_ms > 0) == shared


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
