"""Letters in many typefaces: which letter, which script, which style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.realzoo.data.pool import SIZE, Pixels, Pool
from models.realzoo.packages import PACKAGES, unpack

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: First and last code point of each script's letters, and the end of its Noto file's name.
SCRIPTS = {
    "arabic": (0x0627, 0x064A, "Arabic"),
    "armenian": (0x0531, 0x0586, "Armenian"),
    "bengali": (0x0985, 0x09B9, "Bengali"),
    "cyrillic": (0x0410, 0x044F, ""),
    "devanagari": (0x0904, 0x0939, "Devanagari"),
    "ethiopic": (0x1200, 0x12FF, "Ethiopic"),
    "georgian": (0x10D0, 0x10F6, "Georgian"),
    "greek": (0x0391, 0x03C9, ""),
    "hebrew": (0x05D0, 0x05EA, "Hebrew"),
    "khmer": (0x1780, 0x17A2, "Khmer"),
    "latin": (0x0041, 0x007A, ""),
    "thai": (0x0E01, 0x0E2E, "Thai"),
}
STYLES = ("regular", "bold", "italic", "bold-italic")
_UPRIGHT = ("regular", "roman", "book", "normal", "medium")
FONTS = tuple(name for name in PACKAGES if name.startswith("fonts-"))


@dataclass(frozen=True)
class Pen:
    """How one glyph is drawn: colours, height in pixels, offset and turn in degrees."""

    ink: tuple[int, ...]
    paper: tuple[int, ...]
    height: int
    shift: tuple[int, int]
    turn: float

    @classmethod
    def choose(cls, rng: np.random.Generator, grey: bool, turn: float) -> Pen:
        """Ink and paper differ by 90 levels at least in brightness."""
        while True:
            ink, paper = (rng.integers(0, 256, 3) if not grey else np.repeat(rng.integers(256), 3) for _ in range(2))
            if abs(float(ink.mean() - paper.mean())) > 90:
                break
        shift = rng.integers(-3, 4, 2)
        return cls(
            tuple(map(int, ink)), tuple(map(int, paper)), int(rng.integers(16, 25)), (int(shift[0]), int(shift[1])),
            float(rng.uniform(-turn, turn)),
        )  # fmt: skip


def draw(text: str, font: Path, pen: Pen) -> Pixels | None:
    """uint8 [32, 32, 3]; None where the typeface draws nothing."""
    face = ImageFont.truetype(str(font), 64)
    left, top, right, bottom = face.getbbox(text)
    if right - left < 4 or bottom - top < 4:
        return None
    mask = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, font=face, fill=255)
    mask = mask.rotate(pen.turn, Image.Resampling.BICUBIC, expand=True)
    scale = min(pen.height / mask.height, 28 / mask.width)
    mask = mask.resize((max(1, round(mask.width * scale)), max(1, round(mask.height * scale))), Image.Resampling.LANCZOS)
    image = Image.new("RGB", (SIZE, SIZE), pen.paper)
    corner = ((SIZE - mask.width) // 2 + pen.shift[0], (SIZE - mask.height) // 2 + pen.shift[1])
    image.paste(Image.new("RGB", mask.size, pen.ink), corner, mask)
    return np.asarray(image)


def list_fonts(work: Path, packages: Sequence[str] = FONTS) -> list[Path]:
    """The typefaces of packages, by name."""
    return sorted(
        (file for name in packages for file in unpack(name, work).rglob("*") if file.suffix.lower() in (".ttf", ".otf")),
        key=lambda file: file.name,
    )


def read_letters(work: Path) -> Pool:
    """26 capitals in grey, each typeface in its own part."""
    rng = np.random.default_rng(9)
    fonts = [file for file in list_fonts(work) if not file.name.startswith("Noto")]
    return _pool(
        (
            (letter, file, Pen.choose(rng, True, 12), place, _stem(file))
            for file in fonts
            for place, letter in enumerate(LETTERS)
        ),
        tuple(LETTERS),
    )


def _stem(file: Path) -> str:
    """What typefaces of one family share, about."""
    return file.stem.lower().split("-")[0][:6]


def read_scripts(work: Path) -> Pool:
    """Letters of twelve scripts in colour, each letter in its own part."""
    rng = np.random.default_rng(10)
    folder = unpack("fonts-noto-core", work)
    return _pool(
        (
            (chr(code), file, Pen.choose(rng, False, 15), place, f"{name} {code}")
            for place, (name, (first, last, script)) in enumerate(SCRIPTS.items())
            for file in sorted(folder.rglob(f"NotoS*{script}-*.ttf"))
            if file.stem.split("-")[0] in (f"NotoSans{script}", f"NotoSerif{script}")
            for code in range(first, last + 1)
            if chr(code).isalpha()
            for _ in range(2)
        ),
        tuple(SCRIPTS),
    )


def read_styles(work: Path) -> Pool:
    """Two letters at a time in the four styles of each family that has them, a family in its own part."""
    rng = np.random.default_rng(11)
    small = LETTERS.lower()
    wanted = []
    for family, files in _list_families(work).items():
        for style, file in enumerate(files):
            for _ in range(60):
                text = "".join(rng.choice(list(small + LETTERS), 2))
                wanted.append((text, file, Pen.choose(rng, True, 0), style, family))
    return _pool(iter(wanted), STYLES)


def _list_families(work: Path) -> dict[str, list[Path]]:
    """Families with all four styles, each its files in the order of STYLES."""
    found: dict[str, dict[int, Path]] = {}
    for file in list_fonts(work):
        family, style = ImageFont.truetype(str(file), 12).getname()
        words = (style or "").lower().replace("oblique", "italic").replace(" ", "").replace("-", "")
        place = {"bold": 1, "italic": 2, "bolditalic": 3}.get(words, 0 if words in _UPRIGHT else None)
        if family and place is not None:
            found.setdefault(family, {}).setdefault(place, file)
    return {family: [files[n] for n in range(4)] for family, files in sorted(found.items()) if len(files) == 4}


def _pool(wanted: Iterator[tuple[str, Path, Pen, int, str]], classes: tuple[str, ...]) -> Pool:
    images, labels, groups = [], [], []
    for text, file, pen, label, group in wanted:
        if (drawn := draw(text, file, pen)) is not None:
            images.append(drawn)
            labels.append(label)
            groups.append(group)
    return Pool(np.stack(images), np.array(labels), groups, classes)
