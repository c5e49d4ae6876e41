"""The page, read by a parser that follows the HTML standard (html5lib): structure, names, and no element from data."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

import html5lib
import pytest

from analysis.facts import gather_facts
from analysis.figures.draw import FIGURES
from analysis.html_figures import inline_svg
from analysis.html_page import build_page
from analysis.html_words import DESCRIPTIONS, PAGE_WORDS
from analysis.load import InputError, Run
from analysis.report import render
from analysis.study import judge
from tests.analysis import synthetic

REPORT = Path(__file__).parents[2] / "docs" / "results" / "epyc-2core" / "report"
FIGURE = REPORT / "figures" / "fps_vs_batch.svg"


def parse(page: str) -> Xml.Element:
    """The document, without namespaces; an error of syntax fails the test."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False, strict=False)
    tree = parser.parse(page)
    assert [error for _, error, _ in parser.errors] == []
    for element in tree.iter():
        element.tag = str(element.tag).removeprefix("{http://www.w3.org/2000/svg}")
    return tree


def words_of(element: Xml.Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.fixture(scope="module", params=["en", "ru"])
def page(request: pytest.FixtureRequest) -> Xml.Element:
    text = (REPORT / f"report.{request.param}.md").read_text(encoding="utf-8")
    return parse(build_page(text, request.param, REPORT))


def test_contents_lead_to_every_section(page: Xml.Element) -> None:
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    listed = [link.get("href", "")[1:] for link in page.findall(".//nav//a")]
    assert listed == [heading.get("id") for heading in page.iter() if heading.tag in ("h2", "h3")]


def test_names_that_are_pointed_to_exist(page: Xml.Element) -> None:
    ids = {element.get("id") for element in page.iter()}
    pointed = {
        name
        for element in page.iter()
        for attribute in ("aria-labelledby", "aria-describedby")
        for name in element.get(attribute, "").split()
    }
    pointed |= {link[1:] for element in page.iter() if (link := element.get("href", "")).startswith("#")}
    assert pointed <= ids


def test_tables_have_captions_and_headed_columns(page: Xml.Element) -> None:
    tables = page.findall(".//table")
    assert len(tables) >= 8
    assert len({words_of(table.find("caption")) for table in tables}) == len(tables)
    for table in tables:
        columns = table.findall("thead/tr/th")
        assert {column.get("scope") for column in columns} == {"col"}
        assert {len(row.findall("td")) for row in table.findall("tbody/tr")} == {len(columns)}


def test_every_figure_is_drawn_in_the_page_and_described(page: Xml.Element) -> None:
    figures = page.findall(".//figure")
    assert len(figures) == len(list((REPORT / "figures").glob("*.svg")))
    for figure in figures:
        svg = figure.find(".//svg")
        assert svg.get("role") == "img"
        assert words_of(svg.find("title")) in words_of(figure.find("figcaption"))
        assert len(words_of(svg.find("desc"))) > 30


def test_page_needs_nothing_beside_it(page: Xml.Element) -> None:
    """No address but those within the page and of its sister in the other language, and the policy forbids the rest."""
    assert not [element.tag for element in page.iter() if element.get("src") or element.tag == "link"]
    links = {element.get("href") for element in page.iter() if element.get("href")}
    assert {link for link in links if not link.startswith("#")} in ({"report.ru.html"}, {"report.en.html"})
    assert "default-src 'none'" in page.find(".//meta[@http-equiv]").get("content")


def test_only_our_script_may_run(page: Xml.Element) -> None:
    script = page.find(".//script").text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.find(".//meta[@http-equiv]").get("content")


@pytest.mark.parametrize("language", ["en", "ru"])
def test_machine_run_and_date_are_said_at_the_top(language: str) -> None:
    page = parse((REPORT / f"report.{language}.html").read_text(encoding="utf-8"))
    main = page.find(".//main")
    top = words_of(main.find("h1")) + words_of(main.find("p"))
    assert "AMD EPYC" in top
    assert "epyc-2core, 2026-11-24" in top
    assert page.get("lang") == language


def hostile_report(text: str, language: str) -> str:
    """A report in which everything that data may say is `text`."""
    odd = synthetic.Model(text, text, "fp32", 1.0, 1.0)
    common = {"run_id": text, "device": text, "versions": {text: text}}
    rows = [
        synthetic.make_row(synthetic.CPU[0], 224, 1, **common),
        synthetic.make_row(odd, 224, 1, status="unstable", reason=text, **common),
        synthetic.failed_row(synthetic.CPU[4], 224, 1, "crashed", text, **common),
    ]
    machine = {
        "device": text, "kind": "cpu", "os": text, "cpu": {"name": f"{text} ", "features": [text]},
        "gpu": {"driver": text},
    }  # fmt: skip
    audit = {"load_before": {"processes": [{"name": text, "cpu_percent": 50.0}]}, "time_sheet_s": {"wall": 9, text: 9}}
    weights = {224: {"accuracy": 0.9, "classes": [text], "data": {"source": text}}}
    run = Run(text, Path("x"), rows, machine=machine, audit=audit, weights=weights)
    return render(gather_facts(judge(run), []), language)


HOSTILE = [
    "<script>alert(1)</script>", "a | b || c", "`tick` ``two", "[link](javascript:alert(1))", "![i](figures/x.png)",
    "**b** _i_ ~~s~~", "&lt;b&gt; &amp;", "</style></main><h2>x</h2>", "<!-- x", "http://x.test <http://x.test>",
    "- item", "1. item", "===", "---", "# head", "> quote", "\\| \\", '" onload="x', "{{ run.id }}", "[a]: http://x.test",
]  # fmt: skip


@functools.cache
def harmless_page(language: str) -> Xml.Element:
    return parse(build_page(hostile_report("zebra", language), language, Path("x")))


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("text", HOSTILE)
def test_no_element_comes_from_data(text: str, language: str, tmp_path: Path) -> None:
    """Elements and attributes are those of a report whose data say a harmless word; the text is shown as it is."""

    def shape(page: Xml.Element) -> list[tuple[str, set[str]]]:
        # classes follow the length of a cell; a code span falls back to plain text where it could not show a bar
        return [(element.tag, set(element.keys()) - {"class"}) for element in page.iter() if element.tag != "code"]

    hostile = parse(build_page(hostile_report(text, language), language, tmp_path))
    harmless = harmless_page(language)
    assert shape(hostile) == shape(harmless)
    shown = words_of(hostile.find(".//main"))
    assert shown.count(text) == words_of(harmless.find(".//main")).count("zebra")
    assert words_of(hostile.find(".//title")) == words_of(hostile.find(".//h1"))


def test_figures_side_by_side_share_no_id() -> None:
    drawings = [Xml.fromstring(inline_svg(FIGURE, prefix, "t", "d")) for prefix in ("f1", "f2")]
    first, second = ({element.get("id") for element in drawing.iter()} - {None} for drawing in drawings)
    assert first.isdisjoint(second)
    links = re.findall(r'(?:href="|url\()#([^")]+)', Xml.tostring(drawings[0], encoding="unicode"))
    assert links
    assert set(links) <= first


def test_a_drawing_loses_nothing_that_is_drawn() -> None:
    def drawn(root: Xml.Element) -> list[str]:
        shapes = ("path", "use", "g", "clipPath", "rect", "text", "image")
        return [tag for element in root.iter() if (tag := element.tag.split("}")[-1]) in shapes]

    whole = Xml.parse(FIGURE).getroot()
    assert drawn(Xml.fromstring(inline_svg(FIGURE, "f", "t", "d"))) == drawn(whole)


def test_a_figure_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fps_vs_batch\.svg.*python -m analysis figures"):
        build_page("# a\n\n## b\n\n![t](figures/fps_vs_batch.png)\n", "en", tmp_path)


def test_words_exist_in_both_languages_for_every_figure() -> None:
    assert PAGE_WORDS["en"].keys() == PAGE_WORDS["ru"].keys()
    assert DESCRIPTIONS["en"].keys() == DESCRIPTIONS["ru"].keys()
    assert set(FIGURES) <= set(DESCRIPTIONS["en"]), "a new figure needs a description in analysis/html_words.py"
