"""Strips and tiles of TIFF files, decompressed: deflated ones by zlib, LZW and PackBits by Pillow.

Pillow knows no image of, say, seven bands. But a compressed part is a row of bytes after the other whatever they mean, so each is
read as a grey image whose rows are as long.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

NONE, LZW, PACKBITS = 1, 5, 32773
DEFLATE = (8, 32946)
#: All numbers of compressions that are read.
COMPRESSIONS = (NONE, LZW, PACKBITS, *DEFLATE)


def decompress(part: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Decompress a part of a TIFF file to at most `rows` rows of `row_bytes` bytes. Raises ValueError for damaged content.

    >>> decompress(bytes([253, 7]), PACKBITS, 2, 2)
    b'\\x07\\x07\\x07\\x07'
    """
    if compression == NONE:
        return part[: rows * row_bytes]
    try:
        if compression in DEFLATE:
            return zlib.decompressobj().decompress(part, rows * row_bytes)
        with Image.open(io.BytesIO(_write_grey(part, compression, rows, row_bytes)), formats=("TIFF",)) as image:
            return image.tobytes()
    except Image.DecompressionBombError as error:
        raise ValueError("one of its parts is too large") from error
    except Exception as error:  # zlib's, and of many types from Pillow's decoders
        raise ValueError(str(error) or type(error).__name__) from error


def _write_grey(part: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """A TIFF file of one grey image with 8 bits per pixel, whose only strip is `part`."""
    tags = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: rows, 279: len(part)}
    padded = part + bytes(len(part) % 2)
    entries = b"".join(struct.pack("<HHII", number, 4, 1, value) for number, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(padded))
    return head + padded + struct.pack("<H", len(tags)) + entries + bytes(4)
