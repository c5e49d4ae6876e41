"""What backends share that run on a GPU what the export built: bind, run, copy, answer. Needs torch."""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from harness.backends.base import Backend, BackendUnavailable, Spec
from harness.backends.cuda import Batch, free_memory
from harness.backends.engine_files import check_job, import_library, read_artifact


class BuiltBackend(Backend):
    """An artefact of the export on a GPU. Variants whose name ends in `graph` run in a CUDA graph, one a batch size."""

    library: str
    name: str
    offered: tuple[str, ...]

    def load(self, spec: Spec) -> None:
        """See Backend."""
        library = import_library(self.library)
        check_job(spec, self.offered, self.name)
        if not torch.cuda.is_available():  # without a GPU, TensorRT's runtime does not raise: it crashes
            raise BackendUnavailable("torch sees no CUDA device")
        self.batch: Batch | None = None
        self.shape: torch.Size | None = None
        self.drop()
        free_memory()
        self.spec = spec
        content, self.manifest = read_artifact(spec)
        self.evidence = self.read(library, content)

    @abstractmethod
    def drop(self) -> None:
        """Let go of what an earlier load left."""

    @abstractmethod
    def read(self, library: Any, content: bytes) -> dict[str, Any]:
        """Deserialise the artefact and set `versions`; evidence of what it holds."""

    @abstractmethod
    def place(self, batch: torch.Tensor) -> torch.Tensor:
        """A new batch on the device, in the type that is asked for. Raises UnsupportedJob for a size it is not for."""

    @abstractmethod
    def infer(self, images: torch.Tensor) -> torch.Tensor:
        """Enqueue one inference on torch's current stream: the clock's, or the one that a capture records."""

    def share(self) -> BuiltBackend:
        """See Backend. Loads the file anew: a context is set to one batch, as is a CUDA graph captured from it.

        A second context on the same engine will not do: TensorRT before 10 gives each profile to one context alone.
        """
        other = copy.copy(self)
        other.batch, other.shape = None, None
        content, other.manifest = read_artifact(self.spec)
        other.evidence = other.read(import_library(self.library), content)
        return other

    @property
    def bound(self) -> Batch:
        """The batch size in use."""
        if self.batch is None:
            raise RuntimeError("bind() comes first")
        return self.batch

    @torch.inference_mode()
    def bind(self, images: np.ndarray) -> None:
        """See Backend. A new batch size is warmed up and captured here."""
        batch = torch.from_numpy(images)
        if self.batch is None or self.shape != batch.shape:
            self.batch, self.shape = None, batch.shape
            free_memory()
            torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            self.batch = Batch(self.infer, self.place(batch), captured=self.spec.variant.endswith("graph"))
            torch.cuda.synchronize()
            self.prepare_ms = 1000 * (time.perf_counter() - start)
        else:
            self.batch.images[:, : batch.shape[1]].copy_(batch)  # an engine may want more channels, of zeros
            torch.cuda.synchronize()

    @torch.inference_mode()
    def run(self) -> None:
        """See Backend."""
        self.bound.run()

    @torch.inference_mode()
    def run_with_transfers(self) -> None:
        """See Backend."""
        self.bound.run_with_transfers()

    def logits(self) -> np.ndarray:
        """See Backend."""
        torch.cuda.synchronize()
        return self.bound.output.float().cpu().numpy()

    def build_ms(self) -> float | None:
        """Time to warm up and capture the bound batch size; the export's build time is in the evidence (`build_s`)."""
        return self.prepare_ms

    def executed(self) -> dict[str, Any]:
        """See Backend."""
        return {
            "dtype": str(self.bound.output.dtype).removeprefix("torch."),
            "graph": self.bound.graph is not None,
            **self.evidence,
        }
