"""What backends on an NVIDIA GPU share: graphs of one inference, and copies from a caller's memory. Needs torch."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

WARM_RUNS = 3  # libraries choose algorithms and take workspace in their first runs, which a capture must not contain


def capture(step: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """Capture one call of `step` in a CUDA graph; replays fill the returned tensor again, on the current stream."""
    for _ in range(WARM_RUNS):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()
    return graph, output


def free_memory() -> None:
    """Give back what dropped tensors, graphs and sessions held."""
    gc.collect()
    torch.cuda.empty_cache()


class Transfers:
    """Pinned host copies of `images` and `output`, and the copies between host and device, enqueued without waiting."""

    def __init__(self, images: torch.Tensor, output: torch.Tensor) -> None:
        self.images, self.output = images, output
        self.host_images = torch.empty_like(images, device="cpu", pin_memory=True).copy_(images)
        self.host_output = torch.empty_like(output, device="cpu", pin_memory=True)

    def upload(self) -> None:
        """Host to device."""
        self.images.copy_(self.host_images, non_blocking=True)

    def download(self, output: torch.Tensor) -> None:
        """Device to host; `output` is that of the last run."""
        self.host_output.copy_(output, non_blocking=True)
