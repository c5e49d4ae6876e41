"""The report as one HTML file that needs nothing beside it: the Markdown rendered, in a shell with style and script."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from analysis.html_figures import inline_svg
from analysis.html_words import DESCRIPTIONS, PAGE_WORDS
from analysis.language import LANGUAGES
from analysis.markdown import TEMPLATES

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
SHELL = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class Heading:
    """A line of the table of contents. `level` is 1 to 3, `anchor` the id of the heading."""

    level: int
    anchor: str
    text: str


def build_page(text: str, code: str, folder: Path) -> str:
    """The page for a report's Markdown `text` in language `code`; figures are read from `folder`.

    Raises:
        InputError: a figure that the text shows is not in `folder` as SVG.
    """
    words = PAGE_WORDS[code]
    tokens = MARKDOWN.parse(text)
    headings = list(_name_headings(tokens))
    tokens = list(_tables(list(_figures(tokens, code, folder, headings[-1].anchor)), words["table"]))
    body = MARKDOWN.renderer.render(list(_sections(tokens)), MARKDOWN.options, {})
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return SHELL.get_template("page.html").render(
        code=code,
        other_code=next(other for other in LANGUAGES if other != code),
        words=words,
        headings=headings,
        body=Markup(body),  # noqa: S704 - html is off in MARKDOWN
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _name_headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give every heading an id made from its words."""
    seen: dict[str, int] = {}
    for opening, inline in itertools.pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = _plain(inline)
        anchor = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
        seen[anchor] = seen.get(anchor, 0) + 1
        if seen[anchor] > 1:
            anchor += f"-{seen[anchor]}"
        opening.attrSet("id", anchor)
        yield Heading(int(opening.tag[1]), anchor, text)


def _tables(tokens: Sequence[Token], pattern: str) -> Iterator[Token]:
    """Tables in a box that scrolls, with a caption from the heading above; alignment and content become classes."""
    heading, number = "", 0
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = _plain(tokens[i + 1])
        elif token.type in ("th_open", "td_open"):
            right = token.attrs.pop("style", "") == "text-align:right"
            kinds = ["number" if right else _kind(tokens[i + 1].content)]
            if token.type == "th_open":
                token.attrSet("scope", "col")
                kinds = ["number" if right else "", "" if " " in tokens[i + 1].content else "short"]
            if any(kinds):
                token.attrSet("class", " ".join(filter(None, kinds)))
        if token.type == "table_open":
            number += 1
            box = Markup('<div class="table" role="region" tabindex="0" aria-labelledby="table-{}">\n').format(number)
            caption = Markup('<caption><span id="table-{}">{}</span></caption>\n').format(
                number, pattern.format(number=number, heading=heading)
            )
            yield from (_raw(box), token, _raw(caption))
        elif token.type == "table_close":
            yield from (token, _raw(Markup("</div>\n")))
        else:
            yield token


def _kind(content: str) -> str:
    """`words` for a sentence and `name` for a few words: cells that may break into lines; empty for the rest."""
    if not content[:1].isalpha():
        return "words" if len(content) > 60 else ""
    return "words" if len(content) > 40 else "name"


def _figures(tokens: Sequence[Token], code: str, folder: Path, numbers: str) -> Iterator[Token]:
    """Replace each paragraph that is nothing but a picture by the drawing; `numbers` is the anchor of its numbers."""
    drawn, rest = 0, iter(enumerate(tokens))
    for i, token in rest:
        picture = _picture(tokens[i + 1]) if token.type == "paragraph_open" else None
        if picture is None:
            yield token
            continue
        drawn += 1
        yield _raw(_drawing(picture, drawn, code, folder, numbers))
        next(rest), next(rest)  # the picture itself and the end of its paragraph


def _picture(inline: Token) -> Token | None:
    children = inline.children or []
    return children[0] if len(children) == 1 and children[0].type == "image" else None


def _drawing(picture: Token, number: int, code: str, folder: Path, numbers: str) -> str:
    path = (folder / str(picture.attrs["src"])).with_suffix(".svg")
    title, words = picture.content, PAGE_WORDS[code]
    svg = inline_svg(path, f"f{number}", title, DESCRIPTIONS[code].get(path.stem, title))
    return SHELL.get_template("figure.html").render(
        svg=Markup(svg),  # noqa: S704 - serialised by an XML library
        title=title,
        label=words["figure"].format(number=number),
        words=words,
        numbers=numbers,
    )


def _raw(text: str) -> Token:
    return Token("html_block", "", 0, content=str(text))


def _plain(inline: Token) -> str:
    """The words of a heading, without their formatting."""
    return "".join(child.content for child in inline.children or [])


def _sections(tokens: Sequence[Token]) -> Iterator[Token]:
    """Wrap every heading of level 2 and what follows it in a section of its own; the first is the answer."""
    opened = 0
    for token in tokens:
        if token.type == "heading_open" and token.tag == "h2":
            if opened:
                yield Token("section_close", "section", -1, block=True)
            opened += 1
            attributes: dict[str, str | int | float] = {"aria-labelledby": token.attrs["id"]}
            if opened == 1:
                attributes["class"] = "answer"
            yield Token("section_open", "section", 1, attrs=attributes, block=True)
        yield token
    if opened:
        yield Token("section_close", "section", -1, block=True)
