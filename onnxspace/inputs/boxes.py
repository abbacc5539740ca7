"""Boxes of objects in images, read from an untrusted CSV or JSON file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import ImageOps

from onnxspace.errors import ConfigError
from onnxspace.inputs.image_files import open_image
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.storage.json_fields import is_text
from onnxspace.storage.regular_files import read_regular

FIELDS = ("image", "x", "y", "w", "h")
MOST_BYTES, MOST_BOXES = 2**24, 100_000
_FARTHEST, _LONGEST_NAME = 1e6, 1_000


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: `x` and `y` are its left upper corner, measured from that of the image.

    >>> Box(10, 20, 30, 40).clip(20)
    Box(x=10, y=20, width=10, height=0)
    """

    x: float
    y: float
    width: float
    height: float

    def clip(self, size: float) -> Box:
        """The part inside a square image of `size` pixels; its width or height is 0 where there is none."""
        left, right = (min(max(edge, 0), size) for edge in (self.x, self.x + self.width))
        top, bottom = (min(max(edge, 0), size) for edge in (self.y, self.y + self.height))
        return Box(left, top, right - left, bottom - top)

    def crop_square(self, width: int, height: int, size: int) -> Box:
        """The box after an image of `width` × `height` pixels is cropped to its central square and resized to `size` pixels."""
        side = min(width, height)
        left, top, scale = (width - side) // 2, (height - side) // 2, size / side
        moved = Box((self.x - left) * scale, (self.y - top) * scale, self.width * scale, self.height * scale)
        return moved.clip(size)


def read_boxes(path: str | Path) -> Mapping[str, tuple[Box, ...]]:
    """Read the boxes of images by name from a file: at most 16 MiB and 100,000 boxes, several per image.

    A `.csv` file has the columns `image`, `x`, `y`, `w`, `h`, a `.json` file is a list of objects with these keys. `image` is the file
    name of an image, or the end of its path; the others are pixels of the upright image at its own size. Raises ConfigError.

    >>> read_boxes("boxes.csv")["0.png"]  # doctest: +SKIP
    (Box(x=12.0, y=20.0, width=40.0, height=33.0),)
    """
    path = Path(path)
    rows = _read_rows(path, _read_text(path))
    found: dict[str, tuple[Box, ...]] = {}
    for number, row in enumerate(rows, 1):
        if number > MOST_BOXES:
            raise ConfigError(f"{path} has more than {MOST_BOXES:,} boxes. Split it.")
        name, box = _read_row(path, number, row)
        found[name] = (*found.get(name, ()), box)
    if not found:
        raise ConfigError(f"{path} has no boxes. Give lines of {', '.join(FIELDS)}.")
    return found


def _read_text(path: Path) -> str:
    if path.suffix.lower() not in (".csv", ".json"):
        raise ConfigError(f"{path} is not a name for boxes. Give a .csv or a .json file with {', '.join(FIELDS)}.")
    try:
        content = read_regular(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: {describe_missing_file(path, 'Give a file with boxes.')}") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror or error}). Give a regular file with boxes.") from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path} is larger than {MOST_BYTES // 2**20} MiB. Split it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8. Save it again in this encoding.") from error


def _read_rows(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    return iter(_parse_json(path, text)) if path.suffix.lower() == ".json" else _parse_csv(path, text)


def _parse_json(path: Path, text: str) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON. Give a list of objects with {', '.join(FIELDS)}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} is not a list of objects. Give one for each box, with {', '.join(FIELDS)}.")
    return rows


def _parse_csv(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"{path} has no column {', '.join(missing)}. Give {', '.join(FIELDS)} in its first line.")
        yield from reader
    except csv.Error as error:
        raise ConfigError(f"{path} is not CSV ({error}). Give lines of {', '.join(FIELDS)}.") from error


def _read_row(path: Path, number: int, row: Mapping[str, Any]) -> tuple[str, Box]:
    name = row.get("image")
    numbers = [_read_number(row.get(field)) for field in FIELDS[1:]]
    x, y, width, height = numbers
    if not is_text(name, _LONGEST_NAME) or not name or None in numbers or not (width or 0) > 0 or not (height or 0) > 0:
        raise ConfigError(f"{path}: box {number} is not an image's name, x, y, and w and h above 0, in pixels. Correct it.")
    return str(name), Box(x or 0.0, y or 0.0, width or 0.0, height or 0.0)


def _read_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= _FARTHEST else None


def fit_boxes(
    boxes: Mapping[str, Sequence[Box]], images: Sequence[Path], size: int, source: str
) -> tuple[tuple[Box, ...], ...]:
    """Return the boxes of each of `images`, in pixels of its square of `size` pixels; boxes outside the square are left out.

    `source` names the file of boxes in messages. Raises ConfigError where no image has a box, ProbeError for an unreadable image.
    """
    fitted = tuple(_fit_image(boxes, path, size) for path in images)
    if not any(fitted):
        raise ConfigError(
            f"{source} has no box inside the square that is cut from an image here. Name images as their files are named."
        )
    return fitted


def _fit_image(boxes: Mapping[str, Sequence[Box]], path: Path, size: int) -> tuple[Box, ...]:
    own = [box for name, listed in boxes.items() if _is_end_of(name, path) for box in listed]
    if not own:
        return ()
    with open_image(path) as image:
        width, height = ImageOps.exif_transpose(image).size
    squares = (box.crop_square(width, height, size) for box in own)
    return tuple(box for box in squares if box.width > 0 and box.height > 0)


def _is_end_of(name: str, path: Path) -> bool:
    parts = PurePosixPath(name).parts
    return path.absolute().parts[-len(parts) :] == parts
