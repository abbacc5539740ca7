"""Packs: a row of each model of a space in one file, for searches in one pass. They can be deleted at any time.

A pack is a file of keys, the identity of each row (32 bytes, in the pack by use followed by the row's CRC-32 and length), and a file of rows. Both are
append-only, rows first. `cache.keys` and `cache.rows` are the fingerprints, float16, as `search` takes them; what `cache.use-keys`
and `cache.use-rows` hold is decided by who searches by use. A pack only proposes candidates, for which the files of models are read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import Share
from onnxspace.spaces.catalogue import Catalogue
from onnxspace.spaces.layout import ALIVE, INDEX, KEYS, ROWS, USE_ALIVE, USE_INDEX, USE_KEYS, USE_ROWS
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.storage.atomic import remove_files
from onnxspace.storage.locks import try_lock
from onnxspace.storage.regular_files import open_regular, read_regular

_IDENTITY, _CHECK = 32, struct.Struct("<II")
#: Models that are packed in one step.
AT_ONCE = 512
#: The most bytes of a row that is read to be checked.
MOST_ROW = 2**20
#: The files of each pack: keys, rows, the index of the rows, and which of them are of living models.
FILES = ((KEYS, ROWS, INDEX, ALIVE), (USE_KEYS, USE_ROWS, USE_INDEX, USE_ALIVE))


@dataclass(frozen=True)
class Packing:
    """How models are packed: the files `keys` and `rows`, the type of a row, and `make`, which returns the rows of models.

    `alive` is the file that says which rows are of living models. `checked` says whether keys have a checksum of their row.
    """

    keys: str
    rows: str
    alive: str
    row: np.dtype[Any]
    make: Callable[[Sequence[CatalogueEntry]], NDArray[Any]]
    checked: bool = True

    @property
    def key_bytes(self) -> int:
        return _IDENTITY + (_CHECK.size if self.checked else 0)


@dataclass(frozen=True, eq=False)
class Pack:
    """`rows`, of the packing's type, and `keys`, the identity of each row, including those of removed models."""

    rows: NDArray[Any]
    keys: tuple[bytes, ...]

    def alive_rows(self, wanted: set[bytes]) -> NDArray[np.bool_]:
        """Return which rows belong to the models `wanted`: bool [rows]."""
        return np.fromiter((key in wanted for key in self.keys), np.bool_, len(self.keys))


def update_pack(
    folder: Path, packing: Packing, book: Catalogue, wanted: set[bytes], progress: Share | None = None
) -> Pack | None:
    """Add missing rows of the models `wanted`, given by identity, and return the pack; `progress` receives the share that is added.

    Returns None where it can't be written, or another process is writing it.
    """
    found = read_pack(folder, packing)
    if not wanted.difference(found.keys):
        return found
    with suppress(OSError), lock_pack(folder, packing.keys) as mine:
        if mine:
            missing = wanted.difference(read_pack(folder, packing).keys)
            _append(folder, packing, list_entries(book, missing), progress)
            return read_pack(folder, packing)
    return None


def choose_keys(book: Catalogue, keep: frozenset[str] | None) -> set[bytes]:
    """Return the identities of all models, or of those in `keep`, written as text."""
    return book.keys() if keep is None else book.keys() & frozenset(map(bytes.fromhex, keep))


def list_entries(book: Catalogue, keys: set[bytes]) -> list[CatalogueEntry]:
    """Return the models with these identities, in the order of their files."""
    found = (book.find("identity", key.hex()) for key in keys)
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.stem)


@contextmanager
def lock_pack(folder: Path, keys: str = KEYS) -> Iterator[bool]:
    """Hold the lock for writing a pack or its index; yields False where another process holds it. Raises OSError."""
    number = os.open(folder / keys, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        yield try_lock(number, unknown=False)
    finally:
        os.close(number)


def read_pack(folder: Path, packing: Packing) -> Pack:
    """Read the pack in its current state; empty where it is missing or unreadable."""
    size, width = packing.key_bytes, packing.row.itemsize
    with suppress(OSError, ValueError):
        keys = read_regular(folder / packing.keys, follow=False)
        count = min(len(keys) // size, (folder / packing.rows).stat().st_size // width)
        if count:
            with open_regular(folder / packing.rows, follow=False) as rows:
                matrix = np.memmap(rows, packing.row, "r", shape=(count,))
            return Pack(matrix, tuple(keys[size * i : size * i + _IDENTITY] for i in range(count)))
    return Pack(np.empty(0, packing.row), ())


def _append(folder: Path, packing: Packing, new: Sequence[CatalogueEntry], progress: Share | None) -> None:
    """Append rows of models, under the lock, overwriting an incomplete row left by an interruption."""
    count = len(read_pack(folder, packing).keys)
    at = packing.row.itemsize * count, packing.key_bytes * count
    with _open_at(folder / packing.rows, at[0]) as rows, _open_at(folder / packing.keys, at[1]) as keys:
        for first in range(0, len(new), AT_ONCE):
            part = new[first : first + AT_ONCE]
            made = [row.tobytes() for row in packing.make(part)]
            rows.write(b"".join(made))
            rows.flush()
            os.fsync(rows.fileno())  # a key without its row would propose a wrong model
            keys.write(b"".join(make_key(entry, row, checked=packing.checked) for entry, row in zip(part, made, strict=True)))
            keys.flush()
            if progress is not None:
                progress(min(1.0, (first + len(part)) / len(new)))


def make_key(entry: CatalogueEntry, row: bytes, *, checked: bool) -> bytes:
    """Return the key of a model's row: its identity and, where rows are `checked`, the row's CRC-32 and length."""
    return bytes.fromhex(entry.identity) + (_CHECK.pack(zlib.crc32(row), len(row)) if checked else b"")


def _open_at(path: Path, length: int) -> BinaryIO:
    """Open a file for writing, truncated to `length` bytes."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b")
    file.truncate(length)
    file.seek(length)
    return file


def find_damaged_row(folder: Path) -> int | None:
    """Return the first row of the pack by use that differs from its checksum; None where all are as written, or there are none."""
    with suppress(OSError):
        keys, size = read_regular(folder / USE_KEYS, follow=False), _IDENTITY + _CHECK.size
        with open_regular(folder / USE_ROWS, follow=False) as rows:
            for i in range(len(keys) // size):
                expected, length = _CHECK.unpack_from(keys, size * i + _IDENTITY)
                row = rows.read(min(length, MOST_ROW))
                if (zlib.crc32(row), len(row)) != (expected, length):
                    return i
    return None


def prune_packs(folder: Path, living: set[bytes]) -> None:
    """Delete each pack and its index where it has rows of models that are not `living`, is damaged, or is empty."""
    for keys, *others in FILES:
        size = _IDENTITY + (_CHECK.size if keys == USE_KEYS else 0)
        if not _has_only(folder / keys, living, size) or (keys == USE_KEYS and find_damaged_row(folder) is not None):
            remove_files(*(folder / name for name in (*reversed(others), keys)))


def _has_only(path: Path, living: set[bytes], size: int) -> bool:
    with suppress(OSError):
        keys = read_regular(path, follow=False)
        return bool(keys) and all(keys[i : i + _IDENTITY] in living for i in range(0, len(keys), size))
    return False
