"""A worker's part of the serving check: the loaded backend behind a batcher. Standard library and NumPy only."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from harness.arrivals import draw_poisson
from harness.backends.base import Backend
from harness.batcher import Served, WallTimer, choose_size, serve_arrivals
from harness.parity import find_fault
from harness.reference import Reference, repeat_images
from harness.server_schema import PERCENTS

SLICES = 10  # of the time, for the queue's length


@dataclass
class Server:
    """One backend, ready at several batch sizes; a batch is padded to the next of them by repeating images."""

    reference: Reference
    precision: str
    prepared: dict[int, Backend] = field(default_factory=dict)
    wrong: int = 0

    def prepare(self, backend: Backend, batch_sizes: list[int]) -> dict[str, Any]:
        """Bind every size; then, with all of them bound, check the answers of each."""
        for size in sorted(batch_sizes):
            self.prepared[size] = backend.share()
            self.prepared[size].bind(repeat_images(self.reference.images, size))
        for size in self.prepared:
            parity = self.reference.check_batch(partial(self._infer, size), size)
            fault = find_fault(parity, self.precision)
            if fault:
                return {"event": "failed", "status": "failed_parity", "reason": f"batch {size}: {fault}"}
        return {"event": "prepared"}

    def run_offline(self, seconds: float) -> dict[str, Any]:
        """All requests are there from the start: full batches, of each prepared size in turn. Answers images per s."""
        rates = {}
        for size in self.prepared:
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < seconds / len(self.prepared):
                self.serve(done, size)
                done += size
            rates[str(size)] = done / (time.perf_counter() - start)
        return {"event": "served", "offline_fps": rates}

    def run_server(
        self, rate_per_s: float, seconds: float, batch_delay_ms: float, limit_ms: float, seed: int
    ) -> dict[str, Any]:
        """Requests arrive at random for `seconds`, and all of them are answered. See `describe_served`.

        At once where none arrives: there is nothing to tell but that.
        """
        arrivals = draw_poisson(rate_per_s, seconds, seed)
        if not arrivals.size:
            return {"event": "served", "requests": 0}
        self.wrong = 0
        served = serve_arrivals(arrivals, self.serve, max(self.prepared), batch_delay_ms / 1000, WallTimer())
        return {"event": "served", "wrong": self.wrong, **describe_served(served, limit_ms)}

    def serve(self, first: int, count: int) -> None:
        """Answer `count` requests from number `first` on: gather, upload, infer, read the classes."""
        size = choose_size(count, list(self.prepared))
        index: np.ndarray = (first + np.arange(size)) % len(self.reference.images)
        logits = self._infer(size, self.reference.images[index])[:count]
        self.wrong += int((logits.argmax(axis=1) != self.reference.logits[index[:count]].argmax(axis=1)).sum())

    def _infer(self, size: int, images: np.ndarray) -> np.ndarray:
        backend = self.prepared[size]
        backend.bind(images)
        backend.run()
        return backend.logits()


def describe_served(served: Served, limit_ms: float) -> dict[str, Any]:
    """Quantiles of latency in ms at PERCENTS, requests over `limit_ms`, sizes of batches, and the queue over time.

    `queue`: requests that had arrived and were not answered at the end of each of SLICES equal parts of the arrivals.
    """
    latency_ms = 1000 * (served.done - served.arrived)
    end = served.arrived[-1]
    moments = end * np.arange(1, SLICES + 1) / SLICES
    arrived = np.searchsorted(served.arrived, moments, side="right")
    sizes, counts = np.unique(served.sizes, return_counts=True)
    return {
        "requests": len(served.arrived),
        "arrivals_s": float(end),
        "answered_s": float(served.done[-1]),
        "latency_ms": [float(value) for value in np.percentile(latency_ms, PERCENTS)],
        "missed": int((latency_ms > limit_ms).sum()),
        "mean_latency_ms": float(latency_ms.mean()),
        "batches": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
        "queue": [int(n) for n in arrived - np.searchsorted(served.done, moments, side="right")],
    }
