"""The row: what one timed job leaves behind, and the only thing `analysis` knows of the harness.

Standard library only, Python 3.10: workers in other interpreters import it too.

History of the file format (`rows.jsonl`, one JSON object a line):
  1  first version.
  2  `arch`, the network that was timed; a row of version 1 is one of resnet18.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 2
BASELINE = ("pytorch", "eager", "fp32")  # backend, variant and precision that every speedup is against
ARCH = "resnet18"  # of the study, and of every row of version 1
WIDE_INTERVAL = "95% interval still wider than"  # begins the reason of a row that is `unstable` for that alone
AGAIN = "+again"  # ends the variant of a contender measured a second time as a check of the harness itself

STATUSES = (
    "ok",  # measured, parity holds, the precision target was reached
    "unstable",  # measured, but the interval stayed wider than asked, or the machine was disturbed
    "oom",  # ran out of device or host memory
    "unsupported",  # the backend exists here but does not offer this variant, precision or shape
    "unavailable",  # the backend's library, device or artefact is not here
    "failed_parity",  # answers differ from the fp32 reference, or the evidence contradicts the precision label
    "crashed",  # the worker process died or raised
    "timeout",  # no answer within `job_timeout_s`
    "skipped",  # not tried, because of an earlier row (reason names it)
)
MEASURED = ("ok", "unstable", "failed_parity")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
CLOCKS = ("cpu", "cuda_events")
BOUNDARIES = ("device_ms", "transfer_ms", "host_ms", "throughput_fps")


class SchemaError(ValueError):
    """A row that cannot be, or a file written by another version of this schema."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SchemaError(message)


@dataclass(frozen=True)
class Job:
    """One cell of the plan. `round` counts repetitions of the whole plan from 1."""

    backend: str
    variant: str
    precision: str
    image_size: int
    batch_size: int
    round: int = 1

    def __post_init__(self) -> None:
        _require(bool(self.backend), "backend: empty")
        _require(bool(self.variant), "variant: empty")
        _require(self.precision in PRECISIONS, f"precision: {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        for name in ("image_size", "batch_size", "round"):
            value = getattr(self, name)
            _require(isinstance(value, int) and value >= 1, f"{name}: {value!r} is not a positive integer")

    @property
    def contender(self) -> str:
        """`backend/variant/precision`: what is being compared."""
        return f"{self.backend}/{self.variant}/{self.precision}"

    def __str__(self) -> str:
        return f"{self.contender} {self.image_size} px, batch {self.batch_size}, round {self.round}"


@dataclass(frozen=True)
class Parity:
    """How far a job's logits are from the fp32 reference logits over `images` validation images.

    `max_abs`: largest absolute difference; `rel_l2`: ||out - ref|| / ||ref||; `top1_agreement`: share of images with
    the reference's top class; `accuracy`: share with the true label (None when labels are unknown).
    """

    images: int
    max_abs: float
    rel_l2: float
    top1_agreement: float
    accuracy: float | None = None

    def __post_init__(self) -> None:
        _require(self.images >= 1, "parity.images: must be at least 1")
        for name in ("top1_agreement", "accuracy"):
            value = getattr(self, name)
            _require(value is None or 0.0 <= value <= 1.0, f"parity.{name}: {value!r} is outside [0, 1]")


def network_flags(arch: str, image_size: int | None) -> str:
    """What `python -m export` must be told to make this network's files at this image size (None: at every size)."""
    flags = ([] if arch == ARCH else [f"--arch {arch}"]) + ([f"--image_size {image_size}"] if image_size else [])
    return " ".join(flags)


def name_network(values: dict[str, Any], version: int) -> dict[str, Any]:
    """A record of version 1, which had no `arch`, as one of `version`; any other as it is."""
    if values.get("schema_version") != 1 or "arch" in values:
        return values
    return {**values, "arch": ARCH, "schema_version": version}


@dataclass(frozen=True)
class Row:
    """One job's result. Times in ms, memory in MB (10**6 bytes), `started_at` in UTC (ISO 8601).

    `samples` holds raw values per boundary (see BOUNDARIES): device_ms = one inference, input and output resident;
    transfer_ms = with host-to-device and device-to-host copies; host_ms = wall clock from call to synchronised result;
    throughput_fps = images per second over windows with the next batch always enqueued. `same_as` names boundaries
    that coincide with another one and were therefore not sampled again (on a CPU: transfer_ms -> device_ms).
    `build_ms` and `load_ms` are longer than alone where `options.parallel_builds` says how many workers did so at once.
    Raises SchemaError when built from values that cannot be.
    """

    run_id: str
    started_at: str
    job: Job
    device: str
    clock: str
    status: str
    reason: str = ""
    artifact: str | None = None
    artifact_sha256: str | None = None
    artifact_bytes: int | None = None
    weights_sha256: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    same_as: dict[str, str] = field(default_factory=dict)
    warmup_ms: list[float] = field(default_factory=list)
    build_ms: float | None = None
    load_ms: float | None = None
    gpu_memory_mb: float | None = None
    cpu_memory_mb: float | None = None
    telemetry: dict[str, Any] = field(default_factory=dict)
    parity: Parity | None = None
    executed: dict[str, Any] = field(default_factory=dict)
    flops_per_image: int | None = None
    arch: str = ARCH
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _require(
            self.schema_version == SCHEMA_VERSION,
            f"schema_version: {self.schema_version!r}; this program writes version {SCHEMA_VERSION}",
        )
        _require(bool(self.run_id), "run_id: empty")
        _require(bool(self.arch), "arch: empty")
        _require(self.clock in CLOCKS, f"clock: {self.clock!r} is not one of {', '.join(CLOCKS)}")
        _require(self.status in STATUSES, f"status: {self.status!r} is not one of {', '.join(STATUSES)}")
        _require(self.status == "ok" or bool(self.reason), f"reason: a row with status {self.status} needs one")
        for name, values in self.samples.items():
            _require(name in BOUNDARIES, f"samples: unknown boundary {name!r}")
            positive = all(map(math.isfinite, values)) and min(values, default=1.0) > 0
            _require(positive, f"samples.{name}: a value is not positive")
        if self.status in ("ok", "unstable"):
            _require(bool(self.samples.get("device_ms")), f"samples.device_ms: empty in a row that is {self.status}")
        for name, other in self.same_as.items():
            _require(name in BOUNDARIES and other in self.samples, f"same_as: {name!r} -> {other!r} names no samples")

    @property
    def only_wide(self) -> bool:
        """Whether nothing speaks against this row but the width of its own interval, which other rounds can mend."""
        return self.status == "unstable" and self.reason.startswith(WIDE_INTERVAL)

    def boundary(self, name: str) -> list[float]:
        """Raw samples of a boundary, following `same_as`; empty when it was not measured."""
        return self.samples.get(self.same_as.get(name, name), [])

    def to_json(self) -> str:
        """One line of `rows.jsonl`, without the line end."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Row:
        """Read one line. Raises SchemaError: not JSON, another schema version, unknown or missing fields."""
        try:
            values = json.loads(line)
        except ValueError as error:
            raise SchemaError(f"not JSON: {error}") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        """Build a row from `asdict` form, of this version or an older one.

        Raises SchemaError: another schema version, unknown or missing fields.
        """
        _require(isinstance(values, dict), "not a JSON object")
        values = name_network(values, SCHEMA_VERSION)
        version = values.get("schema_version")
        _require(
            version == SCHEMA_VERSION, f"schema_version: {version!r}; this program reads versions 1 to {SCHEMA_VERSION}"
        )
        unknown = values.keys() - cls.__dataclass_fields__.keys()
        _require(not unknown, f"unknown fields: {', '.join(sorted(unknown))}")
        parity = values.get("parity")
        try:
            return cls(**{**values, "job": Job(**values["job"]), "parity": Parity(**parity) if parity else None})
        except (TypeError, KeyError, AttributeError) as error:
            raise SchemaError(f"not a row: {error}") from None


def read_rows(text: str) -> Iterator[Row]:
    """Rows of a `rows.jsonl` text. A last line without its line end (a writer was killed) is left out.

    Raises SchemaError with the line number for anything else that is not a row.
    """
    complete = text[: text.rfind("\n") + 1]
    for number, line in enumerate(complete.split("\n"), start=1):  # JSON keeps U+2028, where splitlines breaks a line
        if not line.strip():
            continue
        try:
            yield Row.from_json(line)
        except SchemaError as error:
            raise SchemaError(f"line {number}: {error}") from None
