"""TIFF files of several bands, written in every form that is read."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}


def parts_of(values: Any, rows: int, columns: int, *, separate: bool, tiled: bool) -> list[Any]:
    height, width, bands = values.shape
    if tiled:
        values = np.pad(values, ((0, -height % rows), (0, -width % columns), (0, 0)))
    planes = [values[..., [band]] for band in range(bands)] if separate else [values]
    starts = [(top, left) for top in range(0, height, rows) for left in range(0, width, columns)]
    return [plane[top : top + rows, left : left + columns] for plane in planes for top, left in starts]


def write_tiff(
    path: Path, values: Any, order: str = "<", *, deflate: bool = False, separate: bool = False, tile: int = 0, rows: int = 7,
    predict: bool = False, pack: Any = None, **changed: tuple[int, ...],
) -> Path:  # fmt: skip
    """Write an array [height, width, bands] as a TIFF file; `changed` replaces tags, by names such as `t259`."""
    height, width, bands = values.shape
    blocks = parts_of(values, tile or rows, tile or width, separate=separate, tiled=bool(tile))
    if predict:
        blocks = [np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1])) for block in blocks]
    parts = [np.ascontiguousarray(block).astype(block.dtype.newbyteorder(order)).tobytes() for block in blocks]
    parts = [zlib.compress(part) if deflate else part for part in parts]
    if pack is not None:
        parts = [pack(part, block[0].nbytes) for part, block in zip(parts, blocks, strict=True)]
    offsets, end = [], 8
    for part in parts:
        offsets.append(end)
        end += len(part) + len(part) % 2
    places = (
        {324: offsets, 325: list(map(len, parts)), 322: [tile], 323: [tile]}
        if tile
        else {273: offsets, 279: list(map(len, parts)), 278: [rows]}
    )
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [values.itemsize * 8] * bands, 259: [COMPRESSIONS[pack] if pack else 8 if deflate else 1], 262: [1], 277: [bands],
        284: [2 if separate else 1], 317: [2 if predict else 1], 339: [FORMATS[values.dtype.kind]] * bands, **places,
    }  # fmt: skip
    tags |= {int(name[1:]): list(numbers) for name, numbers in changed.items()}
    body = b"".join(part + bytes(len(part) % 2) for part in parts)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", end)
    entries, extra, after = b"", b"", end + 2 + 12 * len(tags) + 4
    for number, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        inside = packed if len(packed) <= 4 else struct.pack(f"{order}I", after + len(extra))
        extra += b"" if len(packed) <= 4 else packed
        entries += struct.pack(f"{order}HHI", number, 4, len(numbers)) + inside
    path.write_bytes(head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + extra)
    return path


def pack_lzw(content: bytes, _row_bytes: int) -> bytes:
    """TIFF's LZW without its table: the code that clears the table, then bytes as codes of 9 bits, cleared again before codes grow."""
    codes = [code for k, byte in enumerate(content) for code in ([256, byte] if k % 250 == 0 else [byte])] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def pack_bits(content: bytes, row_bytes: int) -> bytes:
    """PackBits, row by row: a run of equal bytes as its length and the byte, others as they are, one by one."""
    packed = b""
    for start in range(0, len(content), row_bytes):
        for byte, run in itertools.groupby(content[start : start + row_bytes]):
            length = len(list(run))
            for part in [128] * (length // 128) + [length % 128] * (length % 128 > 0):
                packed += bytes([0 if part == 1 else 257 - part, byte])
    return packed


COMPRESSIONS = {pack_lzw: 5, pack_bits: 32773}


def numbers(kind: str, bands: int = 5, height: int = 20, width: int = 33) -> Any:
    values = np.random.default_rng(0).integers(0, 200, (height, width, bands))
    return values.astype(kind) * np.asarray(1 if kind == "u1" else 3, kind)
