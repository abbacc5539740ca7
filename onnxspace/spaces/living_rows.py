"""Which rows of a pack are of living models, kept in a file, so that a process need not read a million identities for one search.

The file holds as long as the catalogue and the keys of the pack are those that it was written for. Like the pack it only proposes
candidates, and can be deleted at any time. It is, in this order: a magic, SHA-256 of what it was written for, CRC-32 of the bits,
and a bit for each row.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import place, write_file
from onnxspace.storage.regular_files import read_regular

#: Rows up to which identities are read as fast.
LEAST_ROWS = 20_000
_MAGIC = b"\x89oxalive"
_HEADER = struct.Struct("<8s32sI")


def read_living(path: Path, state: object, count: int) -> NDArray[np.bool_] | None:
    """Return which of `count` rows are of living models, bool [count]; None where that is not known for this `state`."""
    size = _HEADER.size + (count + 7) // 8
    with suppress(OSError, ValueError):
        content = read_regular(path, size, follow=False)
        if len(content) == size and content[: _HEADER.size] == _describe(state, count, content[_HEADER.size :]):
            bits = np.frombuffer(content, np.uint8, offset=_HEADER.size)
            return np.unpackbits(bits, count=count).astype(np.bool_)
    return None


def write_living(path: Path, state: object, alive: NDArray[np.bool_]) -> None:
    """Keep which rows are of living models, for this `state`, where there are many and the space can be written."""
    if len(alive) > LEAST_ROWS:
        bits = np.packbits(alive).tobytes()
        with suppress(OutputError, OSError), open_workbench(path.parent) as bench:
            write_file(bench / "alive", _describe(state, len(alive), bits), bits)
            place(bench / "alive", path)


def _describe(state: object, count: int, bits: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, hashlib.sha256(repr((state, count)).encode()).digest(), zlib.crc32(bits))
