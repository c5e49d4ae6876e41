"""torch.compile with frozen weights, and which compilation serves which batch size. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

HINT = 64  # images; the batch size whose tile sizes every larger and smaller one gets


class Compiled:
    """Compilations of one network on one device: for each batch size its own or, `shared`, one for all but 1.

    The batch axis of the shared one is dynamic. A compilation takes 5 s to 10 s on an H200, so a server that batches
    what arrives has no time for many.
    """

    def __init__(
        self, network: torch.nn.Module, *, shared: bool, backend: str | Callable[..., Any] = "inductor"
    ) -> None:
        import torch._inductor.config  # noqa: PLC0415 - a second of import that only this needs

        torch._inductor.config.freezing = True
        self.network, self.shared, self.backend = network, shared, backend
        self.dynamic: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.shared_ms = 0.0

    def get(self, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """What infers a batch of this shape; compiled, where it can be shared, by now, else at its first call."""
        if not self.shared or len(images) == 1:
            return self._compile(dynamic=False)
        torch._dynamo.maybe_mark_dynamic(images, 0)
        if self.dynamic is None:
            start = time.perf_counter()
            with torch.inference_mode(images.is_inference()):  # a compilation for the one kind does not serve the other
                example = images.new_zeros((HINT, *images.shape[1:])).contiguous(memory_format=torch.channels_last)
            torch._dynamo.maybe_mark_dynamic(example, 0)
            self.dynamic = self._compile(dynamic=None)
            self.dynamic(example)
            self.shared_ms = 1000 * (time.perf_counter() - start)
        return self.dynamic

    def _compile(self, *, dynamic: bool | None) -> Callable[[torch.Tensor], torch.Tensor]:
        torch.compiler.reset()
        self.dynamic = None  # its code went with the reset
        return torch.compile(self.network, dynamic=dynamic, fullgraph=True, backend=self.backend)
