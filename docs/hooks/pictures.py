"""The pictures of README and of the pages on commands and reports, from the current program and the networks of models/.

    python docs/hooks/pictures.py [--only ranking …]

Pages are photographed in headless Chromium. Needs Playwright and Chromium, which the project itself does not.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MOST_BYTES = 200_000
MODELS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "models").glob("*.onnx"))
TARGET = "shapes-jax"


@dataclass(frozen=True)
class Shot:
    """A part of the page: the element at its top, width and height in pixels, and the colours of the system."""

    file: str
    section: str
    size: tuple[int, int]
    scheme: str = "light"


SHOTS = {
    "ranking": Shot("pictures/ranking.png", "", (1240, 860)),
    "matrix": Shot("pictures/page.png", "#matrix", (1060, 975)),
    "gallery": Shot("report-gallery.png", "#gallery", (1060, 860)),
    "phone": Shot("report-phone.png", "#tree", (360, 740), "dark"),
}
_DRAWN = "html[data-drawn=yes]"


def run(place: Path, *words: str) -> None:
    """`onnxspace WORDS…` in a folder; a check that fails is what is to be shown."""
    done = subprocess.run([sys.executable, "-m", "onnxspace", *words, "--quiet"], cwd=place, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 1):
        raise SystemExit(f"onnxspace {' '.join(words)} has exit code {done.returncode}.")


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder with `models` and `photos`, which are drawn."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "models").symlink_to(ROOT / "models")
        subprocess.run([sys.executable, "models/photos.py", str(place / "photos")], cwd=ROOT, check=True)
        yield place


def draw_maps(place: Path) -> None:
    """Maps of two images by four networks."""
    models = [f"models/{name}.onnx" for name in ("shapes-torch", "colour-torch", "segment-torch", "digits-torch")]
    run(place, "explain", *models, "photos/star/0.png", "photos/cross/1.png", "-o", "maps.png")
    save(Image.open(place / "maps.png"), DOCS / "pictures/maps.png", 900)


def draw_class_maps(place: Path) -> None:
    """Maps of the two most probable classes of two images, over the images."""
    methods = ("--method", "grad-cam", "--method", "lrp-composite")
    images = ("photos/star/0.png", "photos/cross/1.png")
    run(place, "explain", "models/shapes-torch.onnx", *images, "--top", "2", *methods, "--overlay", "-o", "classes.png")
    save(Image.open(place / "classes.png"), DOCS / "pictures/class_maps.png", 900)


def draw_diff(place: Path) -> None:
    """Both graphs of two networks side by side, after a step to the first change."""
    run(place, "diff", "models/shapes-torch.onnx", "models/edges-torch.onnx", "-o", "diff.html")
    with open_browser() as browser:
        tab = browser.new_context(viewport={"width": 1240, "height": 860}).new_page()
        tab.goto((place / "diff.html").as_uri())
        tab.wait_for_selector(_DRAWN, timeout=120_000)
        tab.click("#next")
        tab.evaluate("document.querySelector('#graphs').scrollIntoView()")
        tab.wait_for_timeout(500)
        save(Image.open(io.BytesIO(tab.screenshot())), DOCS / "pictures/diff.png", 1240)


def draw_check(place: Path) -> None:
    """The images on which a fine-tuned network looks at other things than the one that it started from."""
    given = ("models/colour-torch.onnx", "--against", "models/shapes-torch.onnx", "--probe", "photos")
    run(place, "check", *given, "--pictures", "pictures")
    save(Image.open(next((place / "pictures").glob("*.png"))), DOCS / "pictures/check.png", 620)


def draw_page(place: Path, shots: dict[str, Shot]) -> None:
    """Parts of the page of all networks, with sources ranked by photos."""
    run(place, "score", *MODELS, "--probe", "photos", "--certainty", "--output", "result")
    run(place, "report", "result", "-o", "page.html", "--target", TARGET, "--title", "Networks for photos of shapes")
    with open_browser() as browser:
        for shot in shots.values():
            save(photograph(browser, place / "page.html", shot), DOCS / shot.file, shot.size[0])


@contextmanager
def open_browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def photograph(browser: Any, page: Path, shot: Shot) -> Image.Image:
    """What the browser shows, with all charts and images drawn."""
    size = {"width": shot.size[0], "height": shot.size[1]}
    tab = browser.new_context(viewport=size, color_scheme=shot.scheme).new_page()
    tab.goto(page.as_uri())
    tab.wait_for_selector(_DRAWN, timeout=120_000)
    tab.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    tab.wait_for_function("() => Array.from(document.images).every(image => image.complete)")
    if shot.section:
        tab.evaluate(f"document.querySelector('{shot.section}').scrollIntoView()")
    tab.wait_for_timeout(500)
    return Image.open(io.BytesIO(tab.screenshot()))


def save(picture: Image.Image, path: Path, width: int) -> None:
    """Write a picture of at most `width` pixels, in as many colours as keep the file small."""
    small = picture.convert("RGB")
    small.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
    for colours in (256, 128, 64, 32):
        small.quantize(colours, Image.Quantize.MEDIANCUT).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MOST_BYTES}. Draw fewer images.")


def main() -> None:
    names = ("maps", "class_maps", "check", "diff", *SHOTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="pictures to draw; all")
    chosen = parser.parse_args().only
    shots = {name: shot for name, shot in SHOTS.items() if name in chosen}
    with workplace() as place:
        for name, draw in (("maps", draw_maps), ("class_maps", draw_class_maps), ("check", draw_check), ("diff", draw_diff)):
            if name in chosen:
                draw(place)
        if shots:
            draw_page(place, shots)


if __name__ == "__main__":
    main()
