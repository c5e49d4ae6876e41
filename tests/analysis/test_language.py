from __future__ import annotations

import pytest

from analysis.language import Language
from analysis.words import FIGURE_WORDS, STATUS_WORDS, VERDICT_WORDS
from harness.schema import STATUSES

ENGLISH, RUSSIAN = Language("en"), Language("ru")


@pytest.mark.parametrize(
    ("count", "form"),
    [
        (0, "ячеек"), (1, "ячейка"), (2, "ячейки"), (4, "ячейки"), (5, "ячеек"),
        (11, "ячеек"), (12, "ячеек"), (14, "ячеек"),
        (20, "ячеек"), (21, "ячейка"), (22, "ячейки"), (25, "ячеек"), (101, "ячейка"), (111, "ячеек"),
        (112, "ячеек"), (1001, "ячейка"),
    ],
)  # fmt: skip
def test_russian_plural_follows_cldr(count: int, form: str) -> None:
    assert RUSSIAN.plural_form(count, "ячейка", "ячейки", "ячеек") == form


def test_english_plural_knows_one() -> None:
    assert [ENGLISH.plural(n, "cell", "cells") for n in (0, 1, 2)] == ["0\u00a0cells", "1\u00a0cell", "2\u00a0cells"]


@pytest.mark.parametrize(
    ("value", "english", "russian"),
    [
        (12345.6, "12,346", "12\u00a0346"), (123.4, "123", "123"), (12.34, "12.3", "12,3"), (1.234, "1.23", "1,23"),
        (0.01234, "0.0123", "0,0123"), (0.0, "0", "0"), (-1.5, "-1.50", "−1,50"),
        (None, "—", "—"), (float("nan"), "—", "—"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits_and_the_languages_marks(
    value: float | None, english: str, russian: str
) -> None:
    assert ENGLISH.number(value) == english
    assert RUSSIAN.number(value) == russian


def test_ratios_percentages_and_intervals() -> None:
    assert RUSSIAN.times(1.586) == "1,59×"
    assert ENGLISH.percent(0.934) == "93.4%"
    assert RUSSIAN.percent(0.934) == "93,4\u00a0%"
    assert ENGLISH.interval(1.549, 1.634) == "[1.55, 1.63]"
    assert RUSSIAN.interval(1.549, 1.634) == "[1,55; 1,63]"
    assert ENGLISH.interval(float("nan"), 1.0) == "—"


def test_a_ratio_next_to_one_is_not_rounded_onto_it() -> None:
    assert ENGLISH.ratio_interval(1.003, 1.018) == "[1.003, 1.018]"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="'de'"):
        Language("de")


@pytest.mark.parametrize("words", [FIGURE_WORDS, STATUS_WORDS, VERDICT_WORDS])
def test_both_languages_have_the_same_words(words: dict[str, dict[str, str]]) -> None:
    assert words["en"].keys() == words["ru"].keys()


def test_every_status_has_a_word() -> None:
    assert set(STATUS_WORDS["en"]) == set(STATUSES)
