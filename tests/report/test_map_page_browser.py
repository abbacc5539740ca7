"""The page of `explain` in a browser; needs what `test_page_browser.py` needs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onnxspace.report.map_page import write_map_page
from tests.helpers.browser import check_accessibility, open_browser
from tests.report.test_map_page import explain
from tests.report.test_page_browser import Opened

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "maps.html"
    write_map_page(explain(("first", "second", "third")), path)
    return path


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Opened]:
    one = Opened(browser, page)
    yield one
    one.context.close()


def test_it_says_nothing_and_asks_for_nothing(opened: Opened) -> None:
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [opened.page.url]


def test_keys_choose_the_image_and_selects_the_map(opened: Opened) -> None:
    opened.page.focus("input[name=image]")
    opened.page.keyboard.press("ArrowRight")
    assert opened.texts("#said") == ["second · one · elrp: class 1 · class 1"]
    opened.page.select_option("#method", label="attention-rollout")
    assert opened.texts("#said") == ["second · one · attention-rollout"]
    assert opened.page.input_value("#target") == "1"
    assert opened.page.get_attribute("#alone", "data-kind") == "unsigned"
    opened.page.click("#sheet button >> nth=3")
    assert opened.texts("#said") == ["second · first · elrp: class 1 · class 1"]
    assert opened.page.get_attribute("#sheet button >> nth=3", "aria-current") == "true"


def test_the_slider_changes_what_is_seen(opened: Opened) -> None:
    def see() -> NDArray[np.float64]:
        return np.asarray(Image.open(io.BytesIO(opened.page.locator(".stage").first.screenshot())).convert("RGB"), np.float64)

    strong = see()
    opened.page.focus("#opacity")
    opened.page.keyboard.press("Home")
    assert opened.texts("#percent") == ["0 %"]
    none = see()
    opened.page.evaluate("document.getElementById('over').hidden = true")
    assert np.abs(none - see()).mean() < 1  # the photo alone
    assert np.abs(none - strong).mean() > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(browser: Any, page: Path, scheme: str, width: int) -> None:
    one = Opened(browser, page, viewport={"width": width, "height": 740}, color_scheme=scheme)
    check_accessibility(one.page)
    assert one.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    one.context.close()
