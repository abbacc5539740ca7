"""TIFF files of several bands, as satellites and microscopes have them, which Pillow can't read: uncompressed, or compressed by LZW, PackBits or deflate.

Files are untrusted: sizes are compared with limits before anything is read, and parts end at the size that they must have.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.inputs.bands import MAX_BANDS
from onnxspace.inputs.tiff_parts import COMPRESSIONS, NONE, decompress
from onnxspace.storage.regular_files import read_regular

_SUFFIXES = (".tif", ".tiff")
_MOST_FILE, _MOST_VALUES, _MOST_TAGS, _MOST_PARTS = 2**30, 2**28, 1000, 2**20
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _OFFSETS, _SAMPLES, _ROWS, _COUNTS = 256, 257, 258, 259, 262, 273, 277, 278, 279
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT = (
    284,
    317,
    322,
    323,
    324,
    325,
    338,
    339,
)
_TYPES = {1: "B", 3: "H", 4: "I"}
_KINDS = {(8, 1): "u1", (16, 1): "u2", (32, 1): "u4", (16, 2): "i2", (32, 2): "i4", (16, 3): "f2", (32, 3): "f4", (64, 3): "f8"}
Tags = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class BandTiff:
    """A TIFF file of several bands: its `content`, its byte `order` ("<" or ">") and the `tags` of its first image."""

    path: Path
    content: bytes
    order: Literal["<", ">"]
    tags: Tags

    def tag(self, number: int, default: int) -> int:
        """The first value of a tag."""
        return self.tags.get(number, (default,))[0]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return self.tag(_SAMPLES, 1)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.tag(_HEIGHT, 0), self.tag(_WIDTH, 0)


def open_band_tiff(path: Path) -> BandTiff | None:
    """Open a TIFF file of several bands; None for any other file, photos of grey, RGB, RGBA or CMYK included. Raises ProbeError."""
    if path.suffix.lower() not in _SUFFIXES:
        return None
    try:
        content = read_regular(path, _MOST_FILE)
        found = _read_tags(path, content)
    except (OSError, struct.error):
        return None  # the reader of photos says what is wrong
    if found is None or not _has_bands(found):
        return None
    if (
        len(content) > _MOST_FILE
        or not 1 <= found.bands <= MAX_BANDS
        or not 0 < math.prod(found.sides) * found.bands <= _MOST_VALUES
    ):
        raise ProbeError(f"{path} is too large for a probe image. Make it smaller.")
    return found


def _read_tags(path: Path, content: bytes) -> BandTiff | None:
    orders: dict[bytes, Literal["<", ">"]] = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(content[:4])
    if order is None:
        return None
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    tags: dict[int, tuple[int, ...]] = {}
    for place in range(min(count, _MOST_TAGS)):
        number, kind, length, _ = struct.unpack_from(f"{order}HHII", content, start + 2 + 12 * place)
        if kind in _TYPES and 1 <= length <= _MOST_PARTS:
            form = f"{order}{length}{_TYPES[kind]}"
            inside = struct.calcsize(form) <= 4
            at = start + 10 + 12 * place if inside else struct.unpack_from(f"{order}I", content, start + 10 + 12 * place)[0]
            tags[number] = struct.unpack_from(form, content, at)
    return BandTiff(path, content, order, tags)


def _has_bands(found: BandTiff) -> bool:
    """Whether a file has bands instead of colours: several samples without colours, or more than RGB and transparency."""
    colours, transparent = found.tag(_COLOURS, 1), found.tag(_EXTRA, 0) in (1, 2)
    return found.bands >= 5 or (colours in (0, 1) and found.bands >= 2 and not (transparent and found.bands == 2))


def read_values(found: BandTiff) -> NDArray[Any]:
    """Read the numbers of a file, [height, width, bands]. Raises ProbeError for forms that are not known, and damaged files."""
    bits, form = set(found.tags.get(_BITS, (1,))), set(found.tags.get(_FORMAT, (1,)))
    kind = _KINDS.get((min(bits), min(form))) if len(bits) == len(form) == 1 else None
    packed = found.tag(_COMPRESSION, NONE)
    if (
        kind is None
        or packed not in COMPRESSIONS
        or found.tag(_PREDICTOR, 1) not in (1, 2)
        or found.tag(_PLANAR, 1) not in (1, 2)
    ):
        raise ProbeError(
            f"{found.path} has a form of TIFF that is not read. Save it uncompressed, or by LZW, PackBits or deflate, with equal bits per band."
        )
    try:
        return _assemble(found, np.dtype(kind).newbyteorder(found.order))
    except (ValueError, IndexError) as error:
        raise ProbeError(f"{found.path} is damaged ({str(error)[:100]}). Remove it, or save it again.") from error


def _assemble(found: BandTiff, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Put strips or tiles, of all bands or of one, into place."""
    (height, width), bands = found.sides, found.bands
    tiled = _TILE_OFFSETS in found.tags
    rows = min(found.tag(_TILE_HEIGHT, 0) if tiled else found.tag(_ROWS, height), _MOST_PARTS if tiled else height)
    columns = found.tag(_TILE_WIDTH, 0) if tiled else width
    if not (0 < rows <= height + 4096 and 0 < columns <= width + 4096):
        raise ValueError("its parts have another size")
    separate = found.tag(_PLANAR, 1) == 2
    if -(-height // rows) * -(-width // columns) * (bands if separate else 1) > _MOST_PARTS:
        raise ValueError("it has too many parts")
    values = np.zeros((height, width, bands), dtype.newbyteorder("="))
    places = [
        (band, top, left)
        for band in (range(bands) if separate else [0])
        for top in range(0, height, rows)
        for left in range(0, width, columns)
    ]
    depth = 1 if separate else bands
    for (band, top, left), part in zip(places, _read_parts(found, len(places), tiled), strict=True):
        high = rows if tiled else min(rows, height - top)
        block = _decode(found, part, (high, columns, depth), dtype)
        target = values[top : top + rows, left : left + columns, band : band + depth]
        target[:] = block[: target.shape[0], : target.shape[1]]
    return values


def _read_parts(found: BandTiff, count: int, tiled: bool) -> Iterator[bytes]:
    offsets = found.tags[_TILE_OFFSETS] if tiled else found.tags.get(_OFFSETS, ())
    lengths: Sequence[int] = found.tags.get(_TILE_COUNTS if tiled else _COUNTS, ())
    if len(offsets) < count or len(lengths) < count:
        raise ValueError("parts are missing")
    for offset, length in zip(offsets[:count], lengths[:count], strict=True):
        yield found.content[offset : offset + length]


def _decode(found: BandTiff, part: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    rows, row_bytes = shape[0], math.prod(shape[1:]) * dtype.itemsize
    content = decompress(part, found.tag(_COMPRESSION, NONE), rows, row_bytes)
    block = np.frombuffer(content, dtype).reshape(shape)
    if found.tag(_PREDICTOR, 1) == 2:  # differences between neighbours of a row
        block = np.cumsum(block, axis=1, dtype=block.dtype)
    return block
