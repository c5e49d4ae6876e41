"""What backends on an NVIDIA GPU share: graphs of one inference, and copies from a caller's memory. Needs torch."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

DEVICE = "cuda"
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


def ignore_libraries() -> None:
    """Let later collections pass over what the imports left: walking it takes about 0.15 s for each batch size."""
    gc.collect()
    gc.freeze()


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


class Batch:
    """A network ready for one batch size: `images` and `output` on the device; `infer` enqueues one inference."""

    def __init__(self, infer: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, *, captured: bool) -> None:
        self.images = images
        self.graph: torch.cuda.CUDAGraph | None = None
        self.transfers: Transfers | None = None
        self.infer = infer
        self.output = infer(images)
        if captured:
            self.graph, self.output = capture(lambda: infer(images))

    def run(self) -> None:
        """Enqueue one inference."""
        if self.graph is not None:
            self.graph.replay()
        else:
            self.output = self.infer(self.images)

    def run_with_transfers(self) -> None:
        """Enqueue the copies from and to pinned host memory around it."""
        self.transfers = self.transfers or Transfers(self.images, self.output)
        self.transfers.upload()
        self.run()
        self.transfers.download(self.output)
