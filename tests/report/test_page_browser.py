"""Pages in a browser: they draw, answer, ask for nothing, and can be used by everyone.

Needs Chromium, Playwright, and axe-core in `node_modules`; run by `pytest -m browser`, and failing where one is missing.
"""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxspace.workflows.report import write_report
from tests.helpers.browser import check_accessibility, open_browser
from tests.helpers.pages import HOSTILE, result

pytestmark = pytest.mark.browser
NAMES = tuple(f"family-{i // 3}-network-{i}" for i in range(12))
PANELS = ("sources", "matrix", "tree", "map", "precision", "recall")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    found = result(place / "calm", NAMES, size=64, warnings=("look out",))
    (place / "oracle.csv").write_text(found.to_csv(), "utf-8")
    write_report(place / "calm", place / "calm.html", oracle=place / "oracle.csv")
    result(place / "wild", HOSTILE)
    write_report(place / "wild", place / "wild.html", title=HOSTILE[0], target=HOSTILE[3])
    return {"calm": place / "calm.html", "wild": place / "wild.html"}


class Opened:
    """A page that is open, and all that it said or asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.page.eval_on_selector_all(selector, "all => all.map(one => one.textContent)")
        return found


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Opened]]:
    made: list[Opened] = []

    def open_page(name: str = "calm", **options: Any) -> Opened:
        made.append(Opened(browser, pages[name], **options))
        return made[-1]

    yield open_page
    for one in made:
        one.context.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["calm", "wild"])
def test_every_panel_draws_without_a_word_or_a_request(opened: Callable[..., Opened], name: str, width: int) -> None:
    one = opened(name, viewport={"width": width, "height": 740})
    for panel in PANELS if name == "calm" else PANELS[:4]:
        assert one.page.locator(f"#chart-{panel} .main-svg").first.is_visible(), panel
    assert one.page.locator("#chart-sources .bars .point").count() == len(NAMES) - 1
    assert one.page.locator("#chart-map .scatterlayer .point").count() == len(NAMES)
    assert one.page.locator("#chart-matrix .heatmaplayer image").count() == 1
    assert one.page.locator("#chart-tree .scatterlayer .js-line").count() == len(NAMES) - 1
    assert one.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    one.page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    one.page.wait_for_function("() => Array.from(document.images).every(image => image.complete && image.naturalWidth > 0)")
    assert one.said == []
    assert [url for url in one.asked if not url.startswith(("data:", "blob:"))] == [one.page.url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(opened: Callable[..., Opened], scheme: str, width: int) -> None:
    one = opened(viewport={"width": width, "height": 740}, color_scheme=scheme)
    one.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    check_accessibility(one.page)


def test_choosing_a_target_ranks_again(opened: Callable[..., Opened], pages: dict[str, Path]) -> None:
    data = json.loads((pages["calm"].parent / "calm/score.json").read_text("utf-8"))
    one = opened()
    for target in (NAMES[7], NAMES[0]):
        one.page.select_option("#target", label=target)
        expected = [row["source"] for row in data["rankings"][target]["sources"]]
        assert one.texts("#ranking tbody th") == expected
        assert one.texts("#maps tbody th") == [target, *expected]
        assert one.texts("#ranking-target") == [target]
        assert f"Most alike to {target} by affinity: {expected[0]}" in one.texts("#said")[0]
        one.page.wait_for_function(
            "name => document.querySelector('#chart-sources').getAttribute('aria-label').includes('to ' + name)", arg=target
        )
        assert one.texts("#chart-sources .ytick text")[0] == expected[0]
        values = [float(text.replace("−", "-")) for text in one.texts("#ranking tbody td:nth-child(3)")]
        assert values == sorted(values, reverse=True)


def test_a_point_of_the_map_becomes_the_target(opened: Callable[..., Opened]) -> None:
    one = opened()
    one.page.locator("#chart-map").scroll_into_view_if_needed()
    box = one.page.locator("#chart-map .scatterlayer .point").first.bounding_box()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    one.page.wait_for_selector("#chart-map .hoverlayer .hovertext")
    before = one.texts("#ranking-target")
    one.page.mouse.down()
    one.page.mouse.up()
    one.page.wait_for_function("name => document.querySelector('#ranking-target').textContent !== name", arg=before[0])
    assert (
        one.page.eval_on_selector("#target", "select => select.selectedOptions[0].textContent")
        == one.texts("#ranking-target")[0]
    )
    assert one.said == []


def test_it_works_by_keyboard(opened: Callable[..., Opened]) -> None:
    one = opened()
    press, focused = one.page.keyboard.press, "document.activeElement"
    press("Tab")
    assert one.page.evaluate(f"{focused}.textContent") == "Skip to the content"
    assert one.page.evaluate(f"{focused}.getBoundingClientRect().left >= 0")
    seen = set()
    for _ in range(80):
        press("Tab")
        seen.add(one.page.evaluate(f"{focused}.id || {focused}.dataset.csv || {focused}.tagName"))
        assert one.page.evaluate(f"{focused} === document.body || getComputedStyle({focused}).outlineStyle !== 'none'")
    assert {"target", "filter", "sources", "matrix", "tree", "map", "gallery", "SUMMARY", "DIV", "BUTTON", "INPUT"} <= seen
    one.page.focus("#target")
    press("ArrowDown")
    assert one.texts("#ranking-target") == [NAMES[1]]
    one.page.focus("#table thead th:nth-child(3) button")
    press("Enter")
    press("Enter")
    assert one.page.get_attribute("#table thead th:nth-child(3)", "aria-sort") == "descending"
    values = [float(text.replace("−", "-")) for text in one.texts("#table tbody td:nth-child(3)")]
    assert values == sorted(values, reverse=True)


def test_the_table_sorts_and_filters(opened: Callable[..., Opened]) -> None:
    one = opened()
    one.page.click("#table thead th:nth-child(1) button")
    assert one.texts("#table tbody th") == sorted(NAMES, key=lambda name: int(name.rpartition("-")[2]))
    one.page.fill("#filter", "FAMILY-2")
    assert one.page.locator("#table tbody tr:visible").count() == 3
    assert one.texts("#filtered") == ["3 of 12"]


def saved(one: Opened, selector: str) -> str:
    with one.page.expect_download() as waiting:
        one.page.click(selector)
    return Path(waiting.value.path()).read_text("utf-8")


def test_the_data_behind_pictures_can_be_saved(opened: Callable[..., Opened], pages: dict[str, Path]) -> None:
    data = json.loads((pages["calm"].parent / "calm/score.json").read_text("utf-8"))
    one = opened()
    rows = list(csv.reader(io.StringIO(saved(one, "[data-csv=matrix]"))))
    place = {name: i for i, name in enumerate(NAMES)}
    for row in rows[1:]:
        for name, value in zip(rows[0][1:], row[1:], strict=True):
            assert float(value) == pytest.approx(data["affinity"][place[row[0]]][place[name]], abs=1e-6)
    for key, length in (
        ("sources", 12),
        ("tree", 12),
        ("map", 13),
        ("precision", 12),
        ("recall", 12),
        ("gallery", 1 + 66 * 4),
        ("models", 13),
    ):
        assert len(saved(one, f"[data-csv={key}]").splitlines()) == length, key
    drawn = ET.fromstring(saved(one, "[data-svg=tree]"))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    kept = json.loads(saved(one, "[data-json=gallery]"))
    assert [len(model["maps"]) for model in kept["models"]] == [4] * 12
    assert one.said == []


def test_tables_behind_pictures_open(opened: Callable[..., Opened]) -> None:
    one = opened()
    for panel in PANELS[1:]:
        one.page.click(f"[data-behind={panel}] summary")
        one.page.wait_for_selector(f"[data-behind={panel}] tbody tr")
        assert one.page.locator(f"[data-behind={panel}] tbody tr").count() >= 11
        assert one.page.locator(f"[data-behind={panel}] caption").count() == 1


def test_hostile_names_are_text(opened: Callable[..., Opened]) -> None:
    one = opened("wild")
    for target in (0, 1, 7, 11):
        one.page.select_option("#target", value=str(target))
    one.page.wait_for_timeout(300)
    assert one.page.locator("svg a, svg b, #ranking b, #ranking img").count() == 0
    assert HOSTILE[3] in one.texts("#chart-sources .ytick text")
    assert set(one.texts("#ranking tbody th")) >= {name.strip() for name in HOSTILE[:8]}
    assert one.said == []


def test_colours_of_maps_can_be_grey_and_paper_is_light(opened: Callable[..., Opened]) -> None:
    one = opened(color_scheme="dark")
    style = "getComputedStyle(document.querySelector('#maps tbody img')).filter"
    assert "colours" in one.page.evaluate(style)
    one.page.check("input[value=grey]")
    assert one.page.evaluate(style) == "none"
    ground = "getComputedStyle(document.body).backgroundColor"
    assert one.page.evaluate(ground) == "rgb(15, 20, 25)"
    one.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert one.page.evaluate(ground) == "rgb(255, 255, 255)"
    one.page.evaluate("dispatchEvent(new Event('afterprint'))")
    one.page.emulate_media(color_scheme="light")
    one.page.wait_for_function(
        "() => document.querySelector('#chart-map .main-svg').style.background.includes('255, 255, 255')"
    )


def test_without_scripts_the_tables_are_there(opened: Callable[..., Opened]) -> None:
    one = opened(java_script_enabled=False)
    assert one.page.locator("#ranking tbody tr").count() == len(NAMES) - 1
    assert one.page.locator("noscript p").is_visible()
    assert one.page.locator("#run dd").count() >= 4
