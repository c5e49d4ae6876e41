"""The settings of a run: every flag is a field here with one sentence. Touches neither files nor devices."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.backends import BACKENDS, family
from harness.schema import ARCH, PRECISIONS

MOST_SECONDS = 1e6  # of a job: 11 days


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and when to stop.

    Args:
        backends: Contenders, each `backend[/variant[/precision]]`, e.g. `pytorch/channels_last/fp32`. Left out parts
            mean the backend's first variant and fp32. `pytorch@old/...` is pytorch under a name of its own, to race
            two environments of one backend.
        arch: The network to measure, as torchvision names it: its weights are weights/best_<arch>_<size>.pth.
        image_sizes: Square input sides in px. Empty: every size that has been exported.
        batch_sizes: Images per inference. Measured in ascending order; after an out-of-memory, larger ones are skipped.
            Empty: powers of two from 1 to max_batch.
        only: Of all these combinations measure these alone, each `backend/variant/precision:image_size:batch_size`,
            e.g. `onnx_runtime/default/fp32:224:8`. Empty: all.
        max_batch: Largest batch size where batch_sizes is empty.
        saturation_percent: Once two batch sizes in a row have not raised FPS over the best before them by this much,
            in %, larger ones are skipped, except for pytorch/eager/fp32: speedups are against it at the same batch
            size. 0: all are measured.
        order: What is finished first: `size` (every contender at one image size; drift of the machine then meets all
            contenders alike), `contender` (every size of one contender by one worker, which saves imports), `variant`
            (every size and precision of one variant by one worker) or `backend` (all of a backend by one worker: what a
            library has searched for a shape, cuDNN's algorithms say, is found done by the variants that come later).
        parallel_builds: Workers that compile at the same time, before any of them is measured, where a variant is slow
            to build (torch.compile): those of a group and of the next such groups. They wait with their models loaded,
            and their `build_ms` and `load_ms` are longer for it. 1: each compiles as its jobs need it.
        rounds: How often the whole plan is repeated, in another order each time; shows drift between repetitions.
        device: Where to run: cpu, cuda, or auto (cuda when an NVIDIA GPU answers).
        threads: CPU threads of a worker. 0: one for each physical core this process may use, as far as its container's
            CPU limit allows.
        target_percent: Sampling stops when the 95% half-width of the trimmed mean is at most this, in % of the mean.
        min_samples: Fewest timed inferences of a job.
        max_samples: Most timed inferences of a job.
        min_seconds: Shortest time to sample a job, in s.
        max_seconds: Longest time to sample a job, in s; a job that is still not known well enough becomes `unstable`.
        warmup_percent: Warm-up ends when the medians of two windows in a row differ by at most this, in %.
        warmup_window_ms: Length of a warm-up window in ms (at least one inference).
        min_warmup_seconds: Shortest warm-up of a job, in s. A GPU that draws more power than its limit is held back
            only after most of a second: 1 or more shows the speed that lasts.
        max_warmup_seconds: Longest warm-up of a job, in s.
        boundary_seconds: Time for each of transfer_ms, host_ms and throughput_fps on a GPU, in s (3 inferences at
            least).
        load_seconds: Length of a separate window of steady load for GPU telemetry (energy wants 2 s or more), in s. 0:
            telemetry comes from the sampling itself.
        load_batches: Batch sizes that get this window. Empty: all.
        l2_flush: Overwrite the GPU's L2 cache before each sample of device_ms, so that every inference starts cold.
        calibrate: Measure the machine's own ceilings first: matrix products per precision and copy bandwidth.
        reference_images: Validation images each worker must answer correctly before it is timed.
        job_timeout_s: Longest wait for a worker's answer, in s; then it is stopped and the row says `timeout`.
        self_check: Measure the first contender at the smallest size a second time, at the end, as if it were another
            one: the two must come out equal.
        strict: Stop when other processes use the machine, instead of warning.
        environments: Python interpreter by backend, for backends that live in another environment, e.g.
            `{torch_trt: .venv-tensorrt/bin/python, pytorch@old: .venv-old/bin/python}`. torch_trt and tensorrt_engine
            find `.venv-tensorrt` by themselves.
    """

    backends: list[str] = field(default_factory=lambda: ["pytorch", "pytorch/channels_last", "onnx_runtime"])
    arch: str = ARCH
    image_sizes: list[int] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    only: list[str] = field(default_factory=list)
    max_batch: int = 4096
    saturation_percent: float = 0.0
    order: Literal["size", "contender", "variant", "backend"] = "size"
    parallel_builds: int = 1
    rounds: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    target_percent: float = 0.5
    min_samples: int = 20
    max_samples: int = 2000
    min_seconds: float = 0.5
    max_seconds: float = 10.0
    warmup_percent: float = 3.0
    warmup_window_ms: float = 200.0
    min_warmup_seconds: float = 0.0
    max_warmup_seconds: float = 5.0
    boundary_seconds: float = 0.2
    load_seconds: float = 0.0
    load_batches: list[int] = field(default_factory=list)
    l2_flush: bool = False
    calibrate: bool = True
    reference_images: int = 128
    job_timeout_s: float = 600.0
    self_check: bool = True
    strict: bool = False
    environments: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(bool(re.fullmatch(r"\w+", self.arch)), "arch", self.arch, "give torchvision's name, e.g. resnet50")
        for name in ("image_sizes", "batch_sizes"):
            for value in getattr(self, name):
                _require(value >= 1, name, value, "each must be at least 1")
        _require(bool(self.backends), "backends", self.backends, "at least one is needed")
        for name in ("max_batch", "parallel_builds", "rounds", "min_samples", "reference_images"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        _require(self.threads >= 0, "threads", self.threads, "must be 0 (automatic) or more")
        _require(self.max_samples >= self.min_samples, "max_samples", self.max_samples, "is under --min_samples")
        for name in ("seconds", "warmup_seconds"):
            longest, shortest = getattr(self, f"max_{name}"), getattr(self, f"min_{name}")
            _require(longest >= shortest, f"max_{name}", longest, f"is under --min_{name}")
        for name, value in vars(self).items():
            _require(not isinstance(value, float) or math.isfinite(value), name, value, "must be a finite number")
        for name in ("target_percent", "max_seconds", "warmup_percent", "warmup_window_ms", "job_timeout_s"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "must be over 0")
        _require(self.job_timeout_s <= MOST_SECONDS, "job_timeout_s", self.job_timeout_s, f"is over {MOST_SECONDS:g}")
        for name in ("min_seconds", "min_warmup_seconds", "boundary_seconds", "load_seconds", "saturation_percent"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")
        for text in self.backends:
            parse_contender(text)
        for text in self.only:
            self._check_cell(text)
        for name in self.environments:
            _require(
                family(name) in BACKENDS, "environments", name, f"no such backend; there are {', '.join(BACKENDS)}"
            )

    @property
    def contenders(self) -> list[tuple[str, str, str]]:
        """(backend, variant, precision) of each entry, in order, without repetitions."""
        return list(dict.fromkeys(parse_contender(text) for text in self.backends))

    def wants(self, contender: tuple[str, str, str], image_size: int, batch_size: int) -> bool:
        """Whether `only` lets a combination be measured."""
        return not self.only or f"{'/'.join(contender)}:{image_size}:{batch_size}" in self.only

    def _check_cell(self, text: str) -> None:
        """A cell that the plan does not hold would silently not be measured."""
        contender, _, rest = text.partition(":")
        image_size, _, batch_size = rest.partition(":")
        planned = contender in ("/".join(names) for names in self.contenders)
        _require(planned, "only", text, "its backend/variant/precision is not among --backends")
        for flag, value, known in (
            ("image_sizes", image_size, list(map(str, self.image_sizes)) or [image_size]),  # empty: what was exported
            ("batch_sizes", batch_size, list(map(str, self.batches))),
        ):
            _require(value in known, "only", text, f"{value or 'nothing'} is not among --{flag}")

    def check_sizes(self, known: Collection[int]) -> None:
        """Raises ValueError for a cell of `only` at an image size that is not among the exported ones."""
        for text in self.only:
            size = int(text.partition(":")[2].partition(":")[0])
            there = ", ".join(map(str, sorted(known)))
            _require(size in known, "only", text, f"{size} px is not exported (there are {there})")

    def load_seconds_at(self, batch_size: int) -> float:
        """Length of the window of steady load at a batch size, in s."""
        return self.load_seconds if not self.load_batches or batch_size in self.load_batches else 0.0

    @property
    def batches(self) -> list[int]:
        """Batch sizes of the plan, ascending."""
        powers = [1 << power for power in range(self.max_batch.bit_length())]
        return sorted(set(self.batch_sizes or powers))


def parse_contender(text: str) -> tuple[str, str, str]:
    """Split `backend[/variant[/precision]]`. Raises ValueError naming the flag and what there is."""
    backend, _, rest = text.partition("/")
    variant, _, precision = rest.partition("/")
    known = family(backend) in BACKENDS and re.fullmatch(r"\w+(@[\w.-]+)?", backend)
    _require(bool(known), "backends", backend, f"unknown backend; there are {', '.join(BACKENDS)}")
    variants = BACKENDS[family(backend)].variants
    if variant in PRECISIONS and not precision:
        variant, precision = "", variant
    variant, precision = variant or variants[0], precision or "fp32"
    _require(variant in variants, "backends", text, f"{backend} has the variants {', '.join(variants)}")
    _require(precision in PRECISIONS, "backends", text, f"a precision is one of {', '.join(PRECISIONS)}")
    return backend, variant, precision


def check_run_id(run_id: str) -> str:
    """A run id is a folder name: letters, digits, '.', '_' and '-'. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id):
        raise ValueError(f"--run_id {run_id}: use letters, digits, '.', '_' and '-' only (a folder is named so)")
    return run_id


def _require(condition: bool, flag: str, value: Any, message: str) -> None:
    if not condition:
        raise ValueError(f"--{flag} {value}: {message}")
