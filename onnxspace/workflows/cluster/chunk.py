"""A piece of a model's unit maps on its way through the shared folder: one file, whole or absent, checked when read.

A line of JSON (its CRC-32 in eight hexadecimal digits before it) says what lies there, float16 [images, pixels] follows.
The name holds the model's key, the first image, and how many there are.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.storage.atomic import place, write_file
from onnxspace.storage.resume import PIECE

_NAME = re.compile(r"(?P<key>[0-9A-Za-z.]+)-(?P<first>\d{1,6})-(?P<rows>\d{1,6})")
_MAX_LINE = 2**23


@dataclass(frozen=True)
class Chunk:
    """Maps of the images from `first` on, computed `size` at a time; `errors` of each where they are estimates.

    `fallback` counts the operators that have no rule of the method.
    """

    first: int
    rows: int
    size: int
    errors: tuple[float, ...] = ()
    fallback: dict[str, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.first + self.rows


def path_of(folder: Path, key: str, piece: Chunk) -> Path:
    return folder / f"{key}-{piece.first}-{piece.rows}{PIECE}"


def write_chunk(folder: Path, key: str, piece: Chunk, rows: NDArray[np.float16]) -> None:
    """Write the rows beside their place, wait for the disk, and give them their name."""
    content = np.ascontiguousarray(rows, dtype="<f2").data.cast("B")
    text = json.dumps({**asdict(piece), "crc": zlib.crc32(content)}, allow_nan=False).encode()
    path = path_of(folder, key, piece)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")  # another worker may be at the same piece
    try:
        write_file(beside, b"%08x %s\n" % (zlib.crc32(text), text), content)
        place(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_chunk(path: Path, pixels: int) -> tuple[Chunk, NDArray[np.float16]] | None:
    """What lies in the file, float16 [images, pixels]; None where it is not as it was written."""
    named = _NAME.fullmatch(path.name.removesuffix(PIECE))
    try:
        with path.open("rb") as file:
            piece, crc = _parsed(file.readline(_MAX_LINE))
            if named is None or (int(named["first"]), int(named["rows"])) != (piece.first, piece.rows):
                return None
            content = file.read(piece.rows * pixels * 2 + 1)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if len(content) != piece.rows * pixels * 2 or zlib.crc32(content) != crc:
        return None
    return piece, np.frombuffer(content, "<f2").reshape(piece.rows, pixels)


def chunks_of(folder: Path, key: str, pixels: int) -> Iterator[Chunk]:
    """The sound pieces of a model that lie there already; damaged ones are removed."""
    for path in sorted(folder.glob(f"{key}-*{PIECE}")):
        if (found := read_chunk(path, pixels)) is not None:
            yield found[0]
        else:
            path.unlink(missing_ok=True)


def drop_chunks(folder: Path, key: str) -> None:
    """Remove what lies there of a model, with what workers that ended have left beside it."""
    for pattern in (f"{key}-*{PIECE}", f".{key}-*{PIECE}.*.partial"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _parsed(line: bytes) -> tuple[Chunk, int]:
    """Raises ValueError and its like for a line that nobody here has written."""
    text = line[9:-1]
    if line != b"%08x %s\n" % (zlib.crc32(text), text):
        raise ValueError("damaged")
    said = json.loads(text)
    numbers = [said[name] for name in ("first", "rows", "size", "crc")]
    errors, fallback = said["errors"], said["fallback"]
    if not all(type(n) is int and 0 <= n < 2**32 for n in numbers) or numbers[2] == 0 or len(errors) not in (0, numbers[1]):
        raise ValueError("out of range")
    if not all(type(error) is float and math.isfinite(error) and error >= 0 for error in errors):
        raise ValueError("no error")
    if not all(isinstance(name, str) and type(count) is int for name, count in fallback.items()):
        raise ValueError("no counts")
    return Chunk(numbers[0], numbers[1], numbers[2], tuple(errors), dict(fallback)), numbers[3]
