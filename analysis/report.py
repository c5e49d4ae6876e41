"""The report: facts of a study poured into the two templates, as Markdown and as HTML.

No sentence is written here, no number in a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.facts import gather_facts
from analysis.html_page import build_page
from analysis.language import LANGUAGES, Language
from analysis.markdown import environment, tidy
from analysis.study import Study
from analysis.whole_files import write_text


def write_report(study: Study, figures: Sequence[str], folder: Path) -> list[Path]:
    """Write report.en.md and report.ru.md into `folder`, and the same as HTML; answers their paths.

    The figures named must be in `folder` already: a page holds them whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = gather_facts(study, figures)
    paths = []
    for code in LANGUAGES:
        text = render(facts, code)
        paths += [folder / f"report.{code}.{suffix}" for suffix in ("md", "html")]
        write_text(paths[-2], text)
        write_text(paths[-1], build_page(text, code, folder))
    return paths


def render(facts: dict[str, Any], code: str) -> str:
    """The report in one language, Markdown."""
    return tidy(environment(Language(code)).get_template(f"report.{code}.md").render(facts))
