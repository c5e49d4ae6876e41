"""Figures inside a page: the SVG files that `figures` wrote, made fit to stand beside each other in one document."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as Xml

from analysis.load import InputError

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
LINK = re.compile(r"(^|url\()#([\w.-]+)")
LEFT_OUT = ("metadata", "style")  # `style` would reach every element of the page; page.css holds its one rule


def inline_svg(path: Path, prefix: str, title: str, description: str) -> str:
    """The drawing in `path` as an <svg> element named by `title` and described by `description`.

    Ids become `prefix`-1, `prefix`-2, ...: unique in a page if the prefix is. Those that nothing refers to are dropped.

    Raises:
        InputError: the file is missing, or is no SVG.
    """
    try:
        root = Xml.fromstring(path.read_bytes())  # noqa: S314 - drawn by our own figures a moment ago
    except (OSError, Xml.ParseError) as error:
        raise InputError(f"{path}: no SVG to read; draw it again with `python -m analysis figures`") from error
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag.removeprefix(SVG) in LEFT_OUT]:
            parent.remove(child)
    _rename(root, prefix)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.tail = None
        if not (element.text or "").strip():
            element.text = None
    root.attrib = {"viewBox": root.get("viewBox", "0 0 1 1"), "style": f"--width: {root.get('width', '100%')}"}
    named = {name: f"{prefix}-{name}" for name in ("title", "desc")}
    root.attrib.update({"role": "img", "aria-labelledby": named["title"], "aria-describedby": named["desc"]})
    for place, (name, text) in enumerate((("title", title), ("desc", description))):
        element = Xml.Element(name, {"id": named[name]})
        element.text = text
        root.insert(place, element)
    return Xml.tostring(root, encoding="unicode")


def _rename(root: Xml.Element, prefix: str) -> None:
    """Number every id that is referred to, and the references; drop other ids, line ends and digits nobody sees."""
    links = [link for element in root.iter() for value in element.attrib.values() for link in _links(value)]
    names = {link: f"{prefix}-{number}" for number, link in enumerate(dict.fromkeys(links), 1)}
    for element in root.iter():
        attributes = {}
        for name, value in element.attrib.items():
            if name == "id" and value not in names:
                continue
            text = names[value] if name == "id" else LINK.sub(lambda found: f"{found[1]}#{names[found[2]]}", value)
            if name in ("d", "x", "y"):
                text = re.sub(r"(\.\d\d)\d+", r"\1", text)  # a hundredth of a point is enough for any paper
            attributes[name.removeprefix(XLINK)] = " ".join(text.split())
        element.attrib = attributes


def _links(value: str) -> list[str]:
    """Ids that an attribute refers to, as a whole (`#id`) or by `url(#id)`."""
    return [link for _, link in LINK.findall(value)]
