"""The page of a comparison in a browser: it unfolds, answers keys, asks for nothing, and can be used by everyone.

Needs Chromium, Playwright, and axe-core in `node_modules`; run by `pytest -m browser`, and failing where one is missing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from onnxspace.differences.page.write import write_page
from onnxspace.differences.result import COLUMNS
from tests.differences.test_page import WILD
from tests.helpers.browser import check_accessibility, open_browser
from tests.helpers.diff_pages import make_diff

pytestmark = pytest.mark.browser
NODES = 240
CHANGES = [place for place in range(NODES) if place % 97 == 5]
FOCUSED = "document.activeElement"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    write_page(make_diff(NODES), place / "calm.html")
    write_page(make_diff(300, lambda i: f"{WILD[i % len(WILD)]}/{WILD[i // 20 % len(WILD)]}/{i}"), place / "wild.html")
    write_page(make_diff(4000), place / "large.html")
    write_page(make_diff(106), place / "small.html")  # axe-core takes a second for ten rows
    return {name: place / f"{name}.html" for name in ("calm", "wild", "large", "small")}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Opens a page; afterwards, none has reported or requested anything."""
    contexts, said, asked = [], list[str](), list[str]()

    def open_page(name: str = "calm", width: int = 1280, *, drawn: bool = True, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
        context.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri())
        if drawn:
            page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} <= {path.as_uri() for path in pages.values()}


def texts(page: Any, selector: str) -> list[str]:
    found: list[str] = page.eval_on_selector_all(selector, "all => all.map(one => one.textContent)")
    return found


@pytest.mark.parametrize("name", ["calm", "wild", "large"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_screen_and_shows_what_changed(opened: Callable[..., Any], name: str, width: int) -> None:
    page = opened(name, width)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert 0 < page.locator("#grid .row").count() <= 250
    assert page.locator("#grid .row.s-departs").count() > 0
    page.click("#unfold")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.locator("#grid b, #grid img, #grid script, #table img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(opened: Callable[..., Any], scheme: str, width: int) -> None:
    page = opened("small", width, color_scheme=scheme)
    check_accessibility(page)
    page.click("#unfold")
    page.click("#next")
    check_accessibility(page)


def test_all_nodes_are_there_when_unfolded(opened: Callable[..., Any]) -> None:
    page = opened()
    before = page.locator("#grid .row").count()
    page.click("#unfold")
    assert page.locator("#grid .row:not(.fold)").count() == NODES
    page.click("#fold")
    assert page.locator("#grid .row").count() == before
    levels = page.eval_on_selector_all("#grid .row", "all => all.map(one => Number(one.getAttribute('aria-level')))")
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_changes_are_visited_in_turn_and_described(opened: Callable[..., Any]) -> None:
    page = opened()
    for number, place in enumerate([*CHANGES, CHANGES[0]]):
        page.click("#next")
        assert texts(page, "#said") == [f"Change {number % len(CHANGES) + 1} of {len(CHANGES)}"]
        assert f"Op_{place}" in texts(page, "#grid [aria-selected=true] .new .name")[0]
        assert f"part{place % 30 // 6}/Op_{place}" in texts(page, "#grid [aria-selected=true] .old .name")[0]
        heads = texts(page, "#details h4")
        assert [head for head in heads if head.endswith(f"Op_{place}")] == [heads[1], heads[3]]
        assert "trained further; they differ by 10 %" in texts(page, "#details .figures")[0]
    assert page.locator(".rail .lit").first.get_attribute("d")


def test_it_works_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate(f"{FOCUSED}.textContent") == "Skip to the content"
    seen = set()
    for _ in range(45):
        press("Tab")
        seen.add(page.evaluate(f"{FOCUSED}.id || {FOCUSED}.getAttribute('role') || {FOCUSED}.tagName"))
        assert page.evaluate(f"{FOCUSED} === document.body || getComputedStyle({FOCUSED}).outlineStyle !== 'none'")
    assert {"next", "previous", "unfold", "fold", "aside", "find", "row", "change", "operator", "filter"} <= seen
    page.focus("#grid [tabindex='0']")
    press("Home")
    first = page.evaluate(f"{FOCUSED}.textContent")
    press("ArrowLeft")
    assert page.get_attribute("#grid .row >> nth=0", "aria-expanded") == "false"
    press("ArrowRight")
    assert page.get_attribute("#grid .row >> nth=0", "aria-expanded") == "true"
    press("ArrowDown")
    assert page.evaluate(f"{FOCUSED}.getAttribute('aria-level')") == "2"
    press("ArrowLeft")  # folds it
    press("ArrowLeft")
    assert page.evaluate(f"{FOCUSED}.textContent") == first
    press("n")
    assert page.locator("#details").is_visible()
    press("n")
    assert page.evaluate(f"{FOCUSED}.getAttribute('aria-selected')") == "true"
    press("Escape")
    assert not page.locator("#details").is_visible()
    assert page.evaluate(f"{FOCUSED}.getAttribute('role')") == "row"
    press("Enter")
    assert page.locator("#details").is_visible()


def test_a_node_can_be_found_by_its_name(opened: Callable[..., Any]) -> None:
    page = opened()
    page.fill("#find", "op_133")
    page.keyboard.press("Enter")
    assert "Op_133" in texts(page, "#grid [aria-selected=true] .new .name")[0]
    page.fill("#find", "nothing has this name")
    page.keyboard.press("Enter")
    assert texts(page, "#said") == ["No node has this in its name or operator."]


def test_the_table_sorts_filters_and_leads_to_the_graphs(opened: Callable[..., Any]) -> None:
    page = opened()
    errors = [float(text.replace("−", "-")) for text in texts(page, "#table tbody td:nth-child(5)")[:5]]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    page.click("#table th[data-column=snr_db] button")
    page.click("#table th[data-column=snr_db] button")
    assert page.get_attribute("#table th[data-column=snr_db]", "aria-sort") == "ascending"
    assert f"Op_{NODES - 1}_new" in texts(page, "#table tbody td:nth-child(3)")[0]
    page.select_option("#change", "departs")
    assert texts(page, "#filtered") == [f"{len(CHANGES)} of {NODES}"]
    page.select_option("#operator", "Add")
    page.fill("#filter", "OP_102_")
    assert texts(page, "#filtered") == [f"1 of {NODES}"]
    page.click("#table tbody .link")
    assert "Op_102" in texts(page, "#grid [aria-selected=true] .new .name")[0]


def test_the_table_can_be_saved(opened: Callable[..., Any], pages: dict[str, Path]) -> None:
    page = opened()
    with page.expect_download() as waiting:
        page.click("#csv")
    rows = list(csv.reader(io.StringIO(Path(waiting.value.path()).read_text("utf-8"))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == NODES + 1
    found = {row.new: row for row in make_diff(NODES).layers}
    for row in rows[1:]:
        cells = dict(zip(rows[0], row, strict=True))
        assert float(cells["snr_db"]) == found[cells["new"]].snr_db
        assert cells["status"] == found[cells["new"]].status


def test_paper_is_light_and_without_scripts_tables_are_there(opened: Callable[..., Any]) -> None:
    page = opened(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(15, 20, 25)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    plain = opened(java_script_enabled=False, drawn=False)
    assert plain.locator("#table tbody tr").count() == 50
    assert plain.locator("noscript p").is_visible()
    assert not plain.locator("#viewer").is_visible()
