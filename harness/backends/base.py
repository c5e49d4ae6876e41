"""What a backend must offer, and what it is given. Python 3.10, standard library and NumPy only."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.schema import network_flags

PROFILED = 5  # inferences in a trace


class BackendUnavailable(Exception):  # noqa: N818 - the contract's name; it is a state, not a mistake
    """The library, device or artefact is not here. The message is the row's reason."""


class UnsupportedJob(Exception):  # noqa: N818 - likewise
    """The backend is here but does not offer this variant, precision or shape. The message is the row's reason."""


@dataclass(frozen=True)
class Spec:
    """What to load. `weights` is a state_dict file; `artifact` the export of this size and precision, if any.

    `arch` is torchvision's name of the network, `arch_arguments` what its builder is told beside `num_classes`.
    `artifact_sha256` is what its manifest says; a library that runs code from the file must compare it first.
    """

    variant: str
    precision: str
    image_size: int
    device: str  # "cpu" or "cuda"
    threads: int
    arch: str
    num_classes: int
    weights: Path
    artifact: Path | None
    artifact_sha256: str | None = None
    arch_arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def export_flags(self) -> str:
        """What `python -m export` must be told to make this network's files at this image size."""
        return network_flags(self.arch, self.image_size)


class Backend(ABC):
    """One way of running the classifier. Life: load, then for each batch size bind, run (many times), logits.

    All work is enqueued on one stream, the one the clock records its events on (CUDA: torch's current stream; a CPU has
    none and `run` returns when the work is done).
    """

    versions: dict[str, str]

    @abstractmethod
    def load(self, spec: Spec) -> None:
        """Build the model on the device; timed as load_ms. Raises BackendUnavailable or UnsupportedJob.

        Asked again, for another image size, it drops what it held before.
        """

    def build(self, batch_sizes: list[int]) -> None:  # noqa: B027 - most backends have nothing to do
        """Compile ahead, and keep, what binding these batch sizes needs; one compilation serves them (`slow_to_build`).

        Asked for after `load`, or not at all.

        Other workers build meanwhile: nothing may be chosen here by timing it, so nothing is run on the device.
        """

    @abstractmethod
    def bind(self, images: np.ndarray) -> None:
        """Put float32 images (batch, 3, size, size) on the device in the job's dtype and layout; not timed."""

    def share(self) -> Backend:
        """Another handle on the loaded model, with a bound batch of its own: one for each batch size of a server.

        A copy of the attributes does where `bind` replaces what it keeps; a library that binds in place overrides this.
        """
        return copy.copy(self)

    @abstractmethod
    def run(self) -> None:
        """Enqueue one inference of the bound images: no copy, no synchronisation."""

    def run_with_transfers(self) -> None:
        """Enqueue the copy of pinned host images to the device, `run`, and the copy of the logits back; no waiting.

        Asked for on GPUs only: on a CPU the images are already where they are used.
        """
        raise NotImplementedError

    @abstractmethod
    def logits(self) -> np.ndarray:
        """float32 (batch, classes) of the last run; waits for it."""

    @abstractmethod
    def executed(self) -> dict[str, Any]:
        """Evidence of what really ran (dtypes, memory format, provider of each node, ...), read from the library."""

    def build_ms(self) -> float | None:
        """Time spent compiling, where `load`, `build` or `bind` does that; None where nothing is compiled.

        What `build` took is longer than alone: other workers compiled at the same time.
        """
        return None

    def gpu_memory_mb(self) -> float | None:
        """Peak device memory of the library's allocator; None on a CPU."""
        return None

    def profile(self, images: np.ndarray, path: Path) -> None:
        """Write a trace of PROFILED inferences of `images` to `path`, in Chrome's trace format (JSON). Not timed.

        Raises UnsupportedJob where the library offers no such trace.
        """
        raise UnsupportedJob("this backend's library writes no trace in Chrome's format")
