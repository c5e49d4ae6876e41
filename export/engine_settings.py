"""What may be asked of an engine. Pure, and imports nothing heavy: bad flags are told at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from export.stem import Stem

Layout = Literal["nchw", "nhwc", "nhwc8"]  # of the images that an engine is given; 8: with five channels of zeros


@dataclass(frozen=True)
class EngineSettings:
    """What to build; see `export.__main__` for the words. `profiles`: [smallest, best, largest] batch each."""

    precisions: list[str]
    profiles: list[list[int]]
    optimization_level: int | None
    stem: Stem = "plain"
    layout: Layout = "nchw"

    def level(self, precision: str) -> int:
        """INT8 is built a level lower by default: it takes far longer to build and gains little from more."""
        return self.optimization_level if self.optimization_level is not None else 2 if precision == "int8" else 3


def parse_profile(text: str | int) -> list[int]:
    """`256` -> [256, 256, 256]; `1-256-1024` -> [1, 256, 1024]. Raises ValueError."""
    if not re.fullmatch(r"\d+(-\d+-\d+)?", str(text)):
        raise ValueError(f"{text} is neither a batch size nor smallest-best-largest, such as 1-256-1024")
    limits = [int(part) for part in str(text).split("-")]
    limits = limits * 3 if len(limits) == 1 else limits
    if limits != sorted(limits) or limits[0] < 1:
        raise ValueError(f"{text} must ascend from 1 or more")
    return limits
