"""Text from data in Markdown: shown as it is, never obeyed. What a Markdown parser makes of it: test_html.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.facts import gather_facts
from analysis.load import Run
from analysis.markdown import code, escape
from analysis.report import render
from analysis.study import judge
from harness.schema import Row
from tests.analysis import synthetic

EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]


def reports(rows: list[Row], **fields: object) -> tuple[str, str]:
    facts = gather_facts(judge(Run("x", Path("x"), rows, **fields)), [])  # type: ignore[arg-type]
    return render(facts, "en"), render(facts, "ru")


@pytest.mark.parametrize(
    "hostile", ["a | b", "<script>x</script>", "`tick` ``two``", "[link](http://x)", "**b** _i_", "a\nb", "$x$"]
)
def test_hostile_text_is_shown_and_not_obeyed(hostile: str) -> None:
    rows = [synthetic.make_row(EAGER, 224, 1), synthetic.failed_row(FAST, 224, 1, "crashed", hostile, device=hostile)]
    for text in reports(rows, machine={"device": hostile, "kind": "cpu"}):
        assert escape(hostile) in text
        for line in text.splitlines():
            if line.startswith("| "):
                assert len(re.findall(r"(?<!\\)\|", line)) in (5, 9, 10, 12, 4, 3), line
        assert "<script>" not in text.replace("\\<script\\>", "")


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("a|b", r"a\|b"),
        ("<b>", r"\<b\>"),
        ("`x`", r"\`x\`"),
        ("x\n# y", r"x \# y"),
        ("a\\|b", r"a\\\|b"),
        ("plain 1.5%", "plain 1.5%"),
        ("$x$ *y* _z_ ~w~ [v] {u} &", r"\$x\$ \*y\* \_z\_ \~w\~ \[v\] \{u\} \&"),
    ],
)
def test_escape(raw: str, safe: str) -> None:
    assert escape(raw) == safe


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("- x", r"\- x"),
        ("+", r"\+"),
        ("1. x", r"1\. x"),
        ("2) x", r"2\) x"),
        ("===", r"\==="),
        ("1.5 x", "1.5 x"),
        ("-1", "-1"),
    ],
)
def test_a_text_that_starts_a_line_starts_no_list(raw: str, safe: str) -> None:
    assert escape(raw) == safe


def test_code_with_a_bar_is_escaped_text() -> None:
    """Inside a table a bar needs a backslash that would show outside of one."""
    assert code("a|b") == r"a\|b"


def test_a_stage_that_the_time_sheet_invents_is_escaped() -> None:
    rows = [synthetic.make_row(EAGER, 224, 1, count=5)]
    for text in reports(rows, audit={"time_sheet_s": {"wall": 9.0, "<b>x</b>": 9.0}}):
        assert r"\<b\>x" in text


def test_code_fences_are_longer_than_what_they_hold() -> None:
    assert code("a`b``c") == "``` a`b``c ```"
