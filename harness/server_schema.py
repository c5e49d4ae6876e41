"""What one step of a serving check leaves behind: a line of `server.jsonl`. Standard library only.

History of the file format (one JSON object a line):
  1  first version.
  2  `arch`, the network that answered; a row of version 1 is one of resnet18.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields

from harness.schema import ARCH, STATUSES, SchemaError, name_network

SERVER_SCHEMA_VERSION = 2
SCENARIOS = ("offline", "server")
PURPOSES = ("offline", "search", "check")
FAILED = tuple(status for status in STATUSES if status not in ("ok", "unstable"))
PERCENTS = (*range(101), 99.9)  # of `latency_ms`


@dataclass(frozen=True)
class ServerRow:
    """One step. Times in ms or s as their names say; rates in requests (images) per second.

    `offline`: every request is there from the start; `offline_fps` by batch size. `server`: requests arrive as a
    Poisson process of `rate_per_s` for `seconds`; a batch begins when the device is free and it is full or its oldest
    request has waited for `batch_delay_ms`; `arrivals_s` is the last arrival, `answered_s` the last answer;
    `latency_ms` holds quantiles at PERCENTS, from planned arrival to answer; `missed` counts those over `limit_ms`;
    `wrong` those whose class is not the reference's; `batches` counts batches by size; `queue` is the number of
    requests without an answer at the end of equal parts of the arrivals. `purpose`: offline, search (a step on the way
    to the peak) or check. A `server` step in which no request arrived is `skipped`. Raises SchemaError when built from
    values that cannot be.
    """

    run_id: str
    started_at: str
    backend: str
    variant: str
    precision: str
    image_size: int
    device: str
    threads: int
    scenario: str
    purpose: str
    batch_sizes: list[int]
    batch_delay_ms: float
    limit_ms: float
    status: str = "ok"
    reason: str = ""
    rate_per_s: float | None = None
    seconds: float | None = None
    seed: int | None = None
    requests: int = 0
    missed: int = 0
    wrong: int = 0
    arrivals_s: float | None = None
    answered_s: float | None = None
    latency_ms: list[float] = field(default_factory=list)
    mean_latency_ms: float | None = None
    batches: dict[str, int] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    offline_fps: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None
    artifact_sha256: str | None = None
    arch: str = ARCH
    schema_version: int = SERVER_SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SERVER_SCHEMA_VERSION:
            raise SchemaError(
                f"schema_version: {self.schema_version!r}; this program reads version {SERVER_SCHEMA_VERSION}"
            )
        known = {"scenario": SCENARIOS, "purpose": PURPOSES, "status": ("ok", *FAILED)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise SchemaError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(values)}")
        if self.status != "ok" and not self.reason:
            raise SchemaError(f"reason: a row with status {self.status} needs one")
        if self.status == "ok" and self.scenario == "server":
            if len(self.latency_ms) != len(PERCENTS) or not all(math.isfinite(v) and v > 0 for v in self.latency_ms):
                raise SchemaError(f"latency_ms: not {len(PERCENTS)} positive values")
            if not 0 <= self.missed <= self.requests:
                raise SchemaError(f"missed: {self.missed} of {self.requests} requests")

    def percentile_ms(self, percent: float) -> float:
        """Latency that `percent` % of the requests did not exceed."""
        return self.latency_ms[PERCENTS.index(percent)]

    @property
    def keeps_limit(self) -> bool:
        """Whether 99% of the requests were answered in time; False where there were none, which shows nothing."""
        return bool(self.latency_ms) and self.percentile_ms(99) <= self.limit_ms

    @property
    def answered_per_s(self) -> float:
        """Requests over the time until the last answer."""
        return self.requests / self.answered_s if self.answered_s else math.nan

    def to_json(self) -> str:
        """One line of `server.jsonl`, without the line end."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> ServerRow:
        """Read one line. Raises SchemaError: not JSON, another schema version, unknown or missing fields."""
        try:
            values = name_network(json.loads(line), SERVER_SCHEMA_VERSION)
            unknown = set(values) - {f.name for f in fields(cls)}
            if unknown:
                raise SchemaError(f"unknown fields: {', '.join(sorted(unknown))}")
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise error if isinstance(error, SchemaError) else SchemaError(f"not a row: {error}") from None


def read_server_rows(text: str) -> Iterator[ServerRow]:
    """Rows of a `server.jsonl` text. A last line without its line end (a writer was killed) is left out."""
    for line in text.split("\n")[:-1]:
        yield ServerRow.from_json(line)
