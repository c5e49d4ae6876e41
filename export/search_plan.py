"""Which engines a search tries: one factor at a time from the first of its values, then the best of each together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from export.engine_settings import Layout
from export.quantize import Placement
from export.stem import Stem


@dataclass(frozen=True)
class Trial:
    """One engine; see `export.search_options` for the words.

    `profile` is `512` or `128-512-2048`; `quantized` is None for an engine without INT8.
    """

    profile: str
    optimization_level: int
    timing_iterations: int
    tactic_sources: str
    stem: Stem
    input_layout: Layout
    quantized: Placement | None

    def __str__(self) -> str:
        """For a progress line."""
        words = [self.profile, f"level {self.optimization_level}", f"{self.timing_iterations} timing(s)"]
        words += [f"sources {self.tactic_sources}", f"stem {self.stem}", f"input {self.input_layout}"]
        return ", ".join([*words, f"Q-DQ {self.quantized}"] if self.quantized else words)


FACTORS = tuple(field.name for field in fields(Trial))


def list_trials(values: Mapping[str, Sequence[Any]]) -> list[Trial]:
    """The first value of every factor, then each other value with the first of all other factors; no trial twice."""
    first = Trial(**{factor: values[factor][0] for factor in FACTORS})
    others = (replace(first, **{factor: value}) for factor in FACTORS for value in values[factor][1:])
    return list(dict.fromkeys([first, *others]))


def combine(trials: Sequence[Trial], rates: Mapping[Trial, float]) -> Trial | None:
    """The fastest value of every factor together, after `list_trials`; None when no trial has a rate.

    A trial without a rate (refused, or wrong) lends nothing. Of equal values the one that was tried first is taken.
    """
    if not rates:
        return None
    first = trials[0]

    def choose() -> Iterator[tuple[str, Any]]:
        for factor in FACTORS:
            alike = [trial for trial in trials if replace(trial, **{factor: getattr(first, factor)}) == first]
            rated = [trial for trial in alike if trial in rates]
            if rated:
                yield factor, getattr(max(rated, key=rates.__getitem__), factor)

    return replace(first, **dict(choose()))
