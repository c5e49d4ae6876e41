"""Numbers and plurals in English and Russian. Pure; prose lives in templates/, labels in words.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

LANGUAGES = ("en", "ru")
MISSING = "—"
NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class Language:
    """How one language writes numbers. `code` is `en` or `ru`."""

    code: str

    def __post_init__(self) -> None:
        if self.code not in LANGUAGES:
            raise ValueError(f"language {self.code!r}: not one of {', '.join(LANGUAGES)}")

    def number(self, value: float | None, decimals: int | None = None) -> str:
        """`value` with a fixed number of decimals, or with about three significant digits when `decimals` is None."""
        if value is None or not math.isfinite(value):
            return MISSING
        text = f"{value:,.{_decimals(value) if decimals is None else decimals}f}"
        if self.code == "ru":
            text = text.replace(",", NO_BREAK).replace(".", ",").replace("-", "−")
        return text

    def times(self, value: float | None) -> str:
        """A ratio: `1.59×`."""
        return (
            MISSING if value is None or not math.isfinite(value) else f"{self.number(value, _ratio_decimals(value))}×"
        )

    def percent(self, share: float | None, decimals: int = 1) -> str:
        """A share 0..1 as a percentage: `93.4%` or `93,4 %`."""
        if share is None or not math.isfinite(share):
            return MISSING
        return self.number(share * 100, decimals) + (f"{NO_BREAK}%" if self.code == "ru" else "%")

    def interval(self, low: float | None, high: float | None, decimals: int | None = None) -> str:
        """`[1.55, 1.63]`; a Russian list of decimals is parted by semicolons. Both ends have the same decimals."""
        ends = [end for end in (low, high) if end is not None and math.isfinite(end)]
        if len(ends) < 2:
            return MISSING
        places = max(_decimals(ends[0]), _decimals(ends[1])) if decimals is None else decimals
        return f"[{self.number(low, places)}{'; ' if self.code == 'ru' else ', '}{self.number(high, places)}]"

    def ratio_interval(self, low: float | None, high: float | None) -> str:
        """Interval of a ratio, with the decimals that `times` uses."""
        ends = [end for end in (low, high) if end is not None and math.isfinite(end)]
        return self.interval(low, high, max(map(_ratio_decimals, ends))) if ends else MISSING

    def plural(self, count: int, *forms: str) -> str:
        """`5 cells`: the count with the right form. English takes (one, many), Russian (one, few, many)."""
        return f"{self.number(count, 0)}{NO_BREAK}{self.plural_form(count, *forms)}"

    def plural_form(self, count: int, *forms: str) -> str:
        """The form alone, by the rules of Unicode CLDR for whole numbers."""
        if self.code == "en":
            one, many = forms
            return one if abs(count) == 1 else many
        one, few, many = forms
        tens, units = abs(count) % 100, abs(count) % 10
        if 11 <= tens <= 14:
            return many
        return one if units == 1 else few if 2 <= units <= 4 else many


def _decimals(value: float) -> int:
    if value == 0:
        return 0
    return int(min(6, max(0, 2 - math.floor(math.log10(abs(value))))))


def _ratio_decimals(value: float) -> int:
    """Two, one for 10 and more; three below 0.1 and next to 1.

    Next to 1 an interval must not seem to touch 1.00 when it does not.
    """
    if abs(value) < 0.1 or (0.9 < value < 1.1 and value != 1):
        return 3
    return 2 if abs(value) < 10 else 1
