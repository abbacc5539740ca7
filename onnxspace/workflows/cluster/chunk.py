"""Files that carry chunks of a model's unit maps from workers to the client through a shared folder.

A chunk file is complete or absent, and checked when it is read. It holds a header (a line of JSON, preceded by its CRC-32 in
eight hexadecimal digits) and the maps, float16 [images, pixels]. Its name consists of the model's key, the first image and
the number of images.
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
from onnxspace.storage.json_fields import is_text
from onnxspace.storage.regular_files import open_regular
from onnxspace.storage.resume import CHUNK

_NAME = re.compile(r"(?P<key>[0-9A-Za-z.]+)-(?P<first>\d{1,6})-(?P<rows>\d{1,6})")
_MAX_LINE, _MAX_REMARK = 2**23, 2**12


@dataclass(frozen=True)
class Chunk:
    """A description of consecutive maps of one model: the header of a chunk file.

    It holds the maps of `rows` images from image `first` on, computed in batches of `size`. `errors` are the maps' relative
    standard errors where they are estimates, otherwise empty. `fallback` counts, by operator, those without a rule of the
    method. `remarks` are further warnings about the maps, without the model's name.
    """

    first: int
    rows: int
    size: int
    errors: tuple[float, ...] = ()
    fallback: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The image after the last one."""
        return self.first + self.rows


def chunk_path(folder: Path, key: str, chunk: Chunk) -> Path:
    """Return the path of a chunk of the model `key` in the shared `folder`."""
    return folder / f"{key}-{chunk.first}-{chunk.rows}{CHUNK}"


def write_chunk(folder: Path, key: str, chunk: Chunk, rows: NDArray[np.float16]) -> None:
    """Write the maps `rows`, float16 [images, pixels], as a chunk file of the model `key`: complete and synchronised, or not at all.

    Raises OutputError.
    """
    content = np.ascontiguousarray(rows, dtype="<f2").data.cast("B")
    text = json.dumps({**asdict(chunk), "crc": zlib.crc32(content)}, allow_nan=False).encode()
    path = chunk_path(folder, key, chunk)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")  # another worker may write the same chunk
    try:
        write_file(partial, b"%08x %s\n" % (zlib.crc32(text), text), content)
        place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_chunk(path: Path, pixels: int) -> tuple[Chunk, NDArray[np.float16]] | None:
    """Read a chunk file of maps of so many `pixels`: its header and its maps, float16 [images, pixels].

    Returns None for a file that is missing, incomplete or damaged.
    """
    named = _NAME.fullmatch(path.name.removesuffix(CHUNK))
    try:
        with open_regular(path) as file:
            chunk, crc = _parse_header(file.readline(_MAX_LINE))
            if named is None or (int(named["first"]), int(named["rows"])) != (chunk.first, chunk.rows):
                return None
            content = file.read(chunk.rows * pixels * 2 + 1)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if len(content) != chunk.rows * pixels * 2 or zlib.crc32(content) != crc:
        return None
    return chunk, np.frombuffer(content, "<f2").reshape(chunk.rows, pixels)


def find_chunks(folder: Path, key: str, pixels: int) -> Iterator[Chunk]:
    """Yield the intact chunks of the model `key` in `folder`, whose maps have so many `pixels`; damaged files are removed."""
    for path in sorted(folder.glob(f"{key}-*{CHUNK}")):
        if (found := read_chunk(path, pixels)) is not None:
            yield found[0]
        else:
            path.unlink(missing_ok=True)


def drop_chunks(folder: Path, key: str) -> None:
    """Remove all chunk files of the model `key` from `folder`, and the partial files of workers that ended."""
    for pattern in (f"{key}-*{CHUNK}", f".{key}-*{CHUNK}.*.partial"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _parse_header(line: bytes) -> tuple[Chunk, int]:
    """Parse an untrusted header: the chunk, and the CRC-32 of its maps. Raises ValueError, KeyError or TypeError."""
    text = line[9:-1]
    if line != b"%08x %s\n" % (zlib.crc32(text), text):
        raise ValueError("damaged")
    header = json.loads(text)
    numbers = [header[name] for name in ("first", "rows", "size", "crc")]
    errors, fallback = header["errors"], header["fallback"]
    if not all(type(n) is int and 0 <= n < 2**32 for n in numbers) or numbers[2] == 0 or len(errors) not in (0, numbers[1]):
        raise ValueError("out of range")
    if not all(type(error) is float and math.isfinite(error) and error >= 0 for error in errors):
        raise ValueError("no error")
    if not all(isinstance(name, str) and type(count) is int for name, count in fallback.items()):
        raise ValueError("no counts")
    if not isinstance(header["remarks"], list) or not all(is_text(remark, _MAX_REMARK) for remark in header["remarks"]):
        raise ValueError("no remarks")
    return Chunk(numbers[0], numbers[1], numbers[2], tuple(errors), dict(fallback), tuple(header["remarks"])), numbers[3]
