"""Chromium, and axe-core in `node_modules`, for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.helpers.paths import REPOSITORY

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    place = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium has no sandbox for it
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=place, args=["--no-sandbox"] if root else [])
        yield running
        running.close()


def check_accessibility(page: Any) -> None:
    """Assert that axe-core finds nothing on an open page, whose policy is kept."""
    axe = (REPOSITORY / "node_modules/axe-core/axe.min.js").read_text("utf-8")
    page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": axe})
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert [(bad["id"], [node["html"] for node in bad["nodes"]]) for bad in found["violations"]] == []
    assert len(found["passes"]) > 30
