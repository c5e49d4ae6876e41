"""The committed pages in a real browser, from disk and without a network: nothing clipped, nothing in the console."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPORT = Path(__file__).parents[2] / "docs" / "results" / "epyc-2core" / "report"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PHONE, DESKTOP, PAPER = (375, 812), (1280, 800), (695, 980)  # px; paper: A4 less its margins

# Elements that reach beyond the window, those inside a box that scrolls aside; and such boxes that do not scroll.
CLIPPED = """() => {
  const width = document.documentElement.clientWidth;
  const boxes = [...document.querySelectorAll('.table, .drawing')];
  const wide = [...document.querySelectorAll('body *')].filter((e) => !e.closest('svg, .skip, .table > *, .drawing > *')
    && (e.getBoundingClientRect().right > width + 1 || e.getBoundingClientRect().left < -1));
  const stuck = boxes.filter((e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX !== 'auto');
  return [...wide, ...stuck].map((e) => `${e.tagName}.${e.className}`)
    .concat(document.documentElement.scrollWidth > width ? ['page'] : []);
}"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


def open_page(browser: Any, language: str, size: tuple[int, int], theme: str = "light") -> tuple[Any, list[str]]:
    """The page, and a list that fills with what the console says."""
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_context(viewport=viewport, color_scheme=theme, offline=True).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
    page.goto((REPORT / f"report.{language}.html").as_uri())
    return page, said


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_is_clipped_and_the_console_is_silent(browser: Any, size: Any, language: str) -> None:
    page, said = open_page(browser, language, size)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert page.evaluate(CLIPPED) == [], theme
    assert said == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_fault(browser: Any, theme: str) -> None:
    """Names, contrast, landmarks, tables and keyboard, by the rules of axe-core."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page, _ = open_page(browser, "ru", PHONE, theme)
    faults = axe.run(page).response["violations"]
    assert [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in faults] == []


@pytest.mark.parametrize("language", ["en", "ru"])
def test_paper_holds_every_table_whole(browser: Any, language: str) -> None:
    page, _ = open_page(browser, language, PAPER)
    page.emulate_media(media="print")
    wide = (
        "() => [...document.querySelectorAll('.table, .drawing')].filter((e) => e.scrollWidth > e.clientWidth).length"
    )
    assert page.evaluate(wide) == 0
    assert not page.locator("nav, .controls, .filters").filter(visible=True).count()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def column(page: Any, name: str) -> list[str]:
    """Cells of the appendix under a heading, those of hidden rows aside."""
    table = page.locator("main table").last
    place = [head.strip() for head in table.locator("thead th").all_inner_texts()].index(name)
    return [row.locator("td").nth(place).inner_text() for row in table.locator("tbody tr").filter(visible=True).all()]


@pytest.mark.parametrize(("language", "name", "mark"), [("en", "mean, ms", "."), ("ru", "среднее, мс", ",")])
def test_columns_sort_as_numbers_by_the_keyboard(browser: Any, language: str, name: str, mark: str) -> None:
    page, _ = open_page(browser, language, DESKTOP)
    header = page.locator("main table").last.locator("thead th").filter(has_text=name).first

    def numbers() -> list[float]:
        cells = [cell.replace("\u00a0", "") for cell in column(page, name)]
        return [float(cell.replace(",", "") if mark == "." else cell.replace(",", ".")) for cell in cells]

    before = numbers()
    for order, falling in (("ascending", False), ("descending", True)):
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == order
        assert numbers() == sorted(before, reverse=falling)
    assert page.locator("main table").last.locator("[aria-sort]").count() == 1


def test_rows_are_filtered_by_words_and_by_choice(browser: Any) -> None:
    page, said = open_page(browser, "en", PHONE)
    bar = page.locator("[role=search]").last
    everything = len(column(page, "px"))
    bar.get_by_label("Filter rows").fill("onnx")
    bar.get_by_label("px").select_option("384")
    assert set(column(page, "approach")) == {"ONNX Runtime fp32"}
    assert set(column(page, "px")) == {"384"}
    assert bar.locator("output").inner_text() == f"4 of {everything} rows"
    bar.get_by_label("Filter rows").fill("")
    bar.get_by_label("px").select_option("all")
    assert len(column(page, "px")) == everything
    assert said == []


def test_theme_follows_the_system_until_it_is_chosen(browser: Any) -> None:
    page, _ = open_page(browser, "en", DESKTOP, "dark")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    button = page.get_by_role("button", name="Dark theme")
    dark = page.evaluate(paper)
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate(paper) != dark


def test_contents_are_folded_on_a_phone_and_open_on_a_desktop(browser: Any) -> None:
    for size, shown in ((PHONE, False), (DESKTOP, True)):
        page, _ = open_page(browser, "en", size)
        assert page.get_by_role("link", name="Methodology").is_visible() is shown
