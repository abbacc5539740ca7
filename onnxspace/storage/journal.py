"""The journal of a file that is still being written: one checksummed line per shard, so that a later run can resume.

A line is the CRC-32 of its text in eight hexadecimal digits, a space, and one JSON object: a shard's, or in the last line
the remarks on the whole file. The first invalid line and all lines after it are ignored.
"""

from __future__ import annotations

import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

from onnxspace.storage.regular_files import open_regular

_MAX_LINE = 2**22  # enough for a batch of 100,000 images with a standard error each
_MAX_REMARKS, _MAX_LETTERS = 100, 10_000


@dataclass(frozen=True)
class Shard:
    """Rows that were written together.

    `rows` is their number, `crc` the CRC-32 of their bytes, `zeros` the number of all-zero rows, and `errors` the standard
    error of each row, or empty.
    """

    rows: int
    crc: int
    zeros: int
    errors: tuple[float, ...] = ()


class Journal:
    """The journal at `path`: `shards` in order, and the `remarks` that end it (None: the file is unfinished).

    The constructor reads the valid lines, up to `most` rows in total; nothing is written before `open`.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.shards: list[Shard] = []
        self.remarks: tuple[str, ...] | None = None
        self._ends = [0]
        self._file: io.FileIO | None = None
        self._read(most)

    def _read(self, most: int) -> None:
        for line in _read_lines(self.path):
            found = _parse_line(line)
            if self.remarks is not None or found is None:
                return
            if (shard := _read_shard(found)) is not None and shard.rows <= most:
                self.shards.append(shard)
                most -= shard.rows
            elif (remarks := _read_remarks(found)) is not None:
                self.remarks = remarks
            else:
                return
            self._ends.append(self._ends[-1] + len(line))

    def open(self, sound: int) -> None:
        """Discard all but the first `sound` shards, and open the journal for appending."""
        del self.shards[sound:], self._ends[sound + 1 :]
        self.remarks = None
        self._file = io.FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        self._file.truncate(self._ends[-1])
        self._file.seek(self._ends[-1])

    def add(self, shard: Shard) -> None:
        """Append a shard."""
        self._write(asdict(shard))
        self.shards.append(shard)

    def end(self, remarks: Sequence[str]) -> None:
        """Mark the file as complete; `remarks` are for readers of the maps."""
        self._write({"remarks": [text[:_MAX_LETTERS] for text in remarks[:_MAX_REMARKS]]})
        self.remarks = tuple(remarks)

    def _write(self, record: dict[str, Any]) -> None:
        assert self._file is not None
        text = json.dumps(record, allow_nan=False).encode()
        write_all(self._file, b"%08x %s\n" % (zlib.crc32(text), text))

    def sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write `content` unbuffered, so that a failed write is not retried when the file is closed. Raises OSError."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]


def count_valid_shards(path: Path, header: bytes, shards: Sequence[Shard], row: int) -> int:
    """Count the leading `shards` whose bytes in the file match their checksums.

    The file must begin with `header`; each row has `row` bytes. Returns 0 for a file that can't be read.
    """
    try:
        with open_regular(path) as file:
            if file.read(len(header)) != header:
                return 0
            sums = (_crc(file, shard.rows * row) == shard.crc for shard in shards)
            return sum(takewhile(bool, sums))
    except OSError:
        return 0


def _crc(file: BinaryIO, length: int) -> int | None:
    """CRC-32 of the next `length` bytes; None where there are fewer."""
    found = 0
    while length and (part := file.read(min(length, 2**20))):
        found, length = zlib.crc32(part, found), length - len(part)
    return None if length else found


def _read_lines(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as file:
            while line := file.readline(_MAX_LINE):
                yield line
    except OSError:
        return


def _parse_line(line: bytes) -> dict[str, Any] | None:
    text = line[9:-1]
    if line != b"%08x %s\n" % (zlib.crc32(text), text):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read_shard(found: dict[str, Any]) -> Shard | None:
    numbers = [found.get(name) for name in ("rows", "crc", "zeros")]
    errors = found.get("errors")
    if not all(type(n) is int and 0 <= n < 2**32 for n in numbers) or not isinstance(errors, list):
        return None
    rows, crc, zeros = (int(n) for n in numbers if n is not None)
    if rows == 0 or zeros > rows or len(errors) not in (0, rows):
        return None
    if not all(type(error) is float and math.isfinite(error) and error >= 0 for error in errors):
        return None
    return Shard(rows, crc, zeros, tuple(errors))


def _read_remarks(found: dict[str, Any]) -> tuple[str, ...] | None:
    texts = found.get("remarks")
    if not isinstance(texts, list) or len(texts) > _MAX_REMARKS:
        return None
    return tuple(texts) if all(isinstance(text, str) and len(text) <= _MAX_LETTERS for text in texts) else None
