"""Which compilation serves which batch size, counted by PyTorch's own counter."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from harness.backends.compiled import Compiled

NETWORK = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))


@pytest.mark.parametrize(("shared", "compilations"), [(True, 2), (False, 4)])
def test_on_a_gpu_all_batch_sizes_but_one_share_a_compilation(shared, compilations):
    """Batches 1, 4, 7 and 100: those of 1 and of all others; on a CPU each its own. Answers are the network's."""
    counter = CompileCounter()
    compiled = Compiled(NETWORK.eval(), shared=shared, backend=counter)
    with torch.inference_mode():
        for batch_size in (1, 4, 7, 100):
            images = torch.randn(batch_size, 3, 8, 8)
            torch.testing.assert_close(compiled.get(images)(images), NETWORK(images))
    assert counter.frame_count == compilations
    assert (compiled.shared_ms > 0) == shared


def test_a_compilation_for_batch_size_one_ends_the_shared_one():
    """PyTorch drops all compilations at once, so the shared one is made again when it is asked for."""
    counter = CompileCounter()
    compiled = Compiled(NETWORK.eval(), shared=True, backend=counter)
    with torch.inference_mode():
        for batch_size in (4, 1, 8):
            images = torch.randn(batch_size, 3, 8, 8)
            compiled.get(images)(images)
    assert counter.frame_count == 3
