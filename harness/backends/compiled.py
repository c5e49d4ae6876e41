"""torch.compile with frozen weights, and which compilation serves which batch size. Needs torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

HINT = 64  # images; the batch size whose tile sizes every larger and smaller one gets
SHARED = 0  # in place of a batch size: the compilation with a dynamic batch axis

Infer = Callable[[torch.Tensor], torch.Tensor]


class CompiledOnly(Exception):  # noqa: N818 - how a first call ends that is made for its compilation
    """The network is compiled, and was not run."""


@dataclass(frozen=True)
class Compilation:
    """`build_ms`: what compiling took before the first inference that is asked for; 0 where that compiles."""

    infer: Infer
    build_ms: float = 0.0


class Compiled:
    """Compilations of one network on one device: for each batch size its own or, `shared`, one for all but 1.

    The batch axis of the shared one is dynamic. A compilation takes 5 s to 10 s on an H200, so a server that batches
    what arrives has no time for many. The last one is kept: another's memory must not count as that of this batch size.
    """

    def __init__(
        self, network: torch.nn.Module, *, shared: bool, backend: str | Callable[..., Any] = "inductor"
    ) -> None:
        import torch._inductor.config  # noqa: PLC0415 - a second of import that only this needs

        torch._inductor.config.freezing = True
        self.network, self.shared, self.backend = network, shared, backend
        self.kept: dict[int, Compilation] = {}
        self.building = False

    def get(self, images: torch.Tensor) -> Infer:
        """What infers a batch of this shape; compiled, where made ahead or shared, by now, else at its first call."""
        key = self._key(len(images))
        if key == SHARED:
            torch._dynamo.maybe_mark_dynamic(images, 0)
        if key not in self.kept:
            self.drop()
            self.kept[key] = self._share(images) if key == SHARED else Compilation(self._compile(key, self.backend))
        return self.kept[key].infer

    def build(self, images: torch.Tensor) -> None:
        """Compile what a batch of this shape needs, without an inference.

        In the first one cuDNN and Triton choose their algorithms by timing them: not beside other processes.
        """
        key = self._key(len(images))
        self.drop()
        start = time.perf_counter()
        infer = self._compile(key, self._compile_graph)
        self.building = True
        try:
            with contextlib.suppress(CompiledOnly):
                infer(make_example(images) if key == SHARED else images)
        finally:
            self.building = False
        self.kept[key] = Compilation(infer, 1000 * (time.perf_counter() - start))

    def drop(self) -> None:
        """Forget all compilations of this process: their code holds the frozen weights."""
        torch.compiler.reset()
        self.kept.clear()

    def build_ms(self, batch_size: int) -> float:
        """What compiling took before the first inference of a batch size; 0 where that compiles."""
        return self.kept[self._key(batch_size)].build_ms

    def is_shared(self, batch_size: int) -> bool:
        """Whether the compilation with the dynamic batch axis is there and serves this batch size."""
        return self._key(batch_size) == SHARED and SHARED in self.kept

    def _key(self, batch_size: int) -> int:
        return SHARED if self.shared and batch_size > 1 else batch_size

    def _share(self, images: torch.Tensor) -> Compilation:
        start = time.perf_counter()
        infer = self._compile(SHARED, self.backend)
        infer(make_example(images))
        return Compilation(infer, 1000 * (time.perf_counter() - start))

    def _compile(self, key: int, backend: str | Callable[..., Any]) -> Infer:
        return torch.compile(self.network, dynamic=None if key == SHARED else False, fullgraph=True, backend=backend)

    def _compile_graph(self, graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> Callable[..., Any]:
        """The backend's code for a graph, which is not run as long as this is `building`."""
        run = torch._dynamo.lookup_backend(self.backend)(graph, examples)

        def infer(*inputs: torch.Tensor) -> Any:
            if self.building:
                raise CompiledOnly
            return run(*inputs)

        return infer


def make_example(images: torch.Tensor) -> torch.Tensor:
    """HINT images of the same size, type and memory format, whose batch axis is dynamic."""
    with torch.inference_mode(images.is_inference()):  # a compilation for the one kind does not serve the other
        example = images.new_zeros((HINT, *images.shape[1:])).contiguous(memory_format=torch.channels_last)
    torch._dynamo.maybe_mark_dynamic(example, 0)
    return example
