"""What a page of fifty models costs: its size, the time to write it, and the time until a browser shows something.

    python benchmarks/report.py [--models 50] [--runs 9]

Maps are noise in families, 64 images of 224 × 224 pixels: nothing compresses worse. The page is opened from the disk in
headless Chromium, each time by a new browser; first paint is what `performance.getEntriesByType("paint")` says. Needs
Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from onnxspace.workflows.report import write_report
from tests.helpers.pages import result

_PAINT = "performance.getEntriesByType('paint').map(entry => entry.startTime)"
_DRAWN = "html[data-drawn=yes]"


def opened(page: Path, size: tuple[int, int]) -> tuple[float, float]:
    """Milliseconds until the first paint, and until every chart is drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_selector(_DRAWN, timeout=120_000)
        drawn = tab.evaluate("performance.now()")
        paint = min(tab.evaluate(_PAINT))
        browser.close()
    return paint, drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--runs", type=int, default=9)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        result(place / "out", tuple(f"family-{i // 3}/network-{i}" for i in range(told.models)), images=64, size=224)
        begun = time.perf_counter()
        write_report(place / "out", place / "page.html")
        took = time.perf_counter() - begun
        print(f"{told.models} models: {(place / 'page.html').stat().st_size / 1e6:.2f} MB, written in {took:.1f} s")
        for name, size in (("1280 × 900", (1280, 900)), ("360 × 740", (360, 740))):
            times = [opened(place / "page.html", size) for _ in range(told.runs)]
            paint, drawn = (sorted(values) for values in zip(*times, strict=True))
            said = f"median {statistics.median(paint):.0f} ms, {paint[0]:.0f} to {paint[-1]:.0f}"
            print(f"{name}: first paint {said}; all charts drawn after {statistics.median(drawn):.0f} ms")


if __name__ == "__main__":
    main()
