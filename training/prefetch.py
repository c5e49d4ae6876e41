"""Batches of images that are decoded already, made whole by threads ahead of the step and copied beside it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Sampler

from training.augment import Augment, augment_batch
from training.resident import DecodedImages

THREADS = 2  # one gathers several GB/s from memory; a second hides the waits of a cache on disk
AHEAD = 4  # batches


@dataclass(frozen=True)
class Fetched:
    """A batch on the training device once `copied` (an event of the copying stream; None on a CPU) has passed."""

    images: torch.Tensor
    labels: torch.Tensor
    copied: torch.cuda.Event | None = None


class PrefetchedBatches:
    """Batches (uint8 (n, 3, S, S), int64 (n,)) of `decoded` as `batches` picks them, on `device`.

    Threads gather a whole batch at once (NumPy copies it outside the interpreter's lock), into pinned memory for a
    GPU, where a stream of its own copies it while the step computes. The batch is augmented on `device`.

    Args:
        decoded: Where the images are: in memory, or mapped from a file.
        batches: Indices of one epoch; asked again for each.
        device: The one that trains.
        augment: As in --data.augment.
        seed: Of the augmentation; asked at the start of every epoch.
    """

    def __init__(
        self,
        decoded: DecodedImages,
        batches: Sampler[list[int]],
        device: torch.device,
        *,
        augment: Augment = "none",
        seed: Callable[[], int] = lambda: 0,
    ) -> None:
        self.decoded, self.batches, self.device, self.augment = decoded, batches, device, augment
        self.seed, self.generator = seed, torch.Generator(device)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        self.generator.manual_seed(self.seed())
        picks = iter(self.batches)
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="gather")
        try:
            coming: deque[Future[Fetched]] = deque(
                pool.submit(self._fetch, pick) for pick in itertools.islice(picks, AHEAD)
            )
            while coming:
                batch = coming.popleft().result()
                if pick := next(picks, None):
                    coming.append(pool.submit(self._fetch, pick))
                yield self._arrived(batch)
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, pick: list[int]) -> Fetched:
        """In a thread: one batch gathered, and its copy to the GPU begun."""
        if self.stream is None:
            return Fetched(*gather(self.decoded, pick))
        with torch.cuda.stream(self.stream):
            images, labels = (part.to(self.device, non_blocking=True) for part in gather(self.decoded, pick, pin=True))
            return Fetched(images, labels, self.stream.record_event())

    def _arrived(self, batch: Fetched) -> list[torch.Tensor]:
        """The batch, augmented; the GPU waits for its copy, the host does not."""
        if batch.copied is not None:
            here = torch.cuda.current_stream(self.device)
            here.wait_event(batch.copied)
            for part in (batch.images, batch.labels):
                part.record_stream(here)  # its memory is not given to the next copy before this step is over
        return [augment_batch(self.augment, batch.images, self.generator), batch.labels]


def gather(decoded: DecodedImages, pick: list[int], *, pin: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The images (n, 3, S, S) and labels (n,) of the indices `pick`, copied; `pin` for a copy to the GPU."""
    images = torch.empty(len(pick), *decoded.images.shape[1:], dtype=torch.uint8, pin_memory=pin)
    labels = torch.empty(len(pick), dtype=torch.int64, pin_memory=pin)
    gather_into(decoded, pick, images, labels)
    return images, labels


def gather_into(decoded: DecodedImages, pick: list[int], images: torch.Tensor, labels: torch.Tensor) -> None:
    """As gather, into memory that is there already."""
    # `clip` writes into `out` directly; NumPy's check of the indices would copy the batch once more
    np.take(decoded.images.numpy(), pick, axis=0, out=images.numpy(), mode="clip")
    np.take(decoded.labels.numpy(), pick, axis=0, out=labels.numpy(), mode="clip")
