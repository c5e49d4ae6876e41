"""Rendering Markdown from templates: whatever comes from data is escaped, whatever a formatter made is not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from analysis.language import Language
from analysis.words import FIGURE_WORDS, HARDWARE_WORDS, STATUS_WORDS, TELEMETRY_WORDS, VERDICT_WORDS

TEMPLATES = Path(__file__).parent / "templates"


class Safe(str):
    """Text that our own formatters made: it goes into the document as it is."""

    __slots__ = ()


def escape(text: str) -> str:
    """Text as Markdown that shows exactly this text on one line, also inside a table."""
    text = re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", " ".join(text.split()))
    return re.sub(r"^(\d{0,9})([-+=.)])(?=\s|=|-|$)", r"\1\\\2", text)  # at the start of a line: a list, an underline


def _finalize(value: Any) -> str:
    if isinstance(value, Safe):
        return value
    return escape(str(value)) if value is not None else "—"


def environment(language: Language) -> jinja2.Environment:
    """Templates with the language's filters. An undefined placeholder is an error, not an empty space."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - Markdown, not HTML: `finalize` escapes what HTML escaping would not
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": language.number,
        "times": language.times,
        "ratio": lambda value: language.times(value).removesuffix("×"),
        "percent": language.percent,
        "plural": language.plural,
        "form": language.plural_form,
        "named": lambda line: _name(line, language),
        "status": lambda status: STATUS_WORDS[language.code][status],
        "verdict": lambda verdict: VERDICT_WORDS[language.code][verdict],
        "limiter": lambda name: HARDWARE_WORDS[language.code][name or "unknown"],
        "load_name": lambda name: HARDWARE_WORDS[language.code][name],
        "telemetry_name": lambda name: TELEMETRY_WORDS[language.code][name],
        "spent": lambda name: HARDWARE_WORDS[language.code].get(name) or escape(str(name)),
        "figure_title": lambda name: FIGURE_WORDS[language.code][name],
        "span": lambda pair: language.interval(*pair),
        "ratio_span": lambda pair: language.ratio_interval(*pair),
        "listing": lambda values: ", ".join(language.number(value, 0) for value in values),
    }
    for name, function in filters.items():
        made.filters[name] = _safe(function)
    made.filters["code"] = code
    return made


def _name(line: Mapping[str, Any], language: Language) -> str:
    """What a line of the summary is called, with a caveat where its time is not known well: `(unstable, ±4.6%)`."""
    name = escape(line["label"])
    if line["status"] != "unstable":
        return name
    half = line["half_width_percent"] / 100
    width = f", ±{language.percent(half)}" if math.isfinite(half) else ""
    return f"{name} ({STATUS_WORDS[language.code]['unstable']}{width})"


def _safe(function: Callable[..., str]) -> Callable[..., Safe]:
    return lambda *values: Safe(function(*values))


def code(value: Any) -> Safe:
    """Text in backticks; more of them than it holds, and no line ends.

    A bar would end a cell of a table, and a backslash before it would show outside of one: such text is only escaped.
    """
    text = " ".join(str(value).split())
    if "|" in text:
        return Safe(escape(text))
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return Safe(f"{fence}{pad}{text}{pad}{fence}")


def tidy(text: str) -> str:
    """No space at line ends, no more than one empty line in a row, one line end at the end."""
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
