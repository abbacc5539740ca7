"""The pack: all fingerprints of a space in one file, row by row, for searches in one pass. It can be deleted at any time.

`cache.keys` holds the identity of each row (32 bytes), `cache.rows` the rows: float16, as `search` takes them. Both are
append-only, rows first. The pack only proposes candidates, for which the fingerprint files are read. `cache.index` is an index
(`onnxspace.similarity.fingerprints.hnsw`) of the first rows; rows added later are searched exhaustively.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.inputs.execution import Share
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.count_sketch import flatten
from onnxspace.similarity.fingerprints.hnsw import Index
from onnxspace.spaces.catalogue import Catalogue, open_catalogue
from onnxspace.spaces.layout import INDEX, KEYS, ROWS, read_prints
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import place, remove_files
from onnxspace.storage.locks import try_lock
from onnxspace.storage.regular_files import open_regular, read_regular

_KEY, _AT_ONCE = 32, 1024


@dataclass(frozen=True)
class Pack:
    """`matrix`, float16 [rows, images · numbers], and `keys`, the identity of each row, including those of removed models."""

    matrix: NDArray[np.float16]
    keys: tuple[bytes, ...]

    def alive_rows(self, wanted: set[bytes]) -> NDArray[np.bool_]:
        """Return which rows belong to the models `wanted`: bool [rows]."""
        return np.fromiter((key in wanted for key in self.keys), np.bool_, len(self.keys))


def update_pack(folder: Path, protocol: Protocol, book: Catalogue, wanted: set[bytes]) -> Pack | None:
    """Add missing rows of the models `wanted`, given by identity, and return the pack.

    Returns None where it can't be written, or another process is writing it.
    """
    found = read_pack(folder, protocol)
    if not wanted.difference(found.keys):
        return found
    with suppress(OSError), lock_pack(folder) as mine:
        if mine:
            missing = wanted.difference(read_pack(folder, protocol).keys)
            _append(folder, protocol, sorted(stem for key in missing if (stem := _find_stem(book, key))))
            return read_pack(folder, protocol)
    return None


def _find_stem(book: Catalogue, key: bytes) -> tuple[str, bytes] | None:
    entry = book.find("identity", key.hex())
    return None if entry is None else (entry.stem, key)


@contextmanager
def lock_pack(folder: Path) -> Iterator[bool]:
    """Hold the lock for writing the pack or its index; yields False where another process holds it. Raises OSError."""
    number = os.open(folder / KEYS, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        yield try_lock(number, unknown=False)
    finally:
        os.close(number)


def read_pack(folder: Path, protocol: Protocol) -> Pack:
    """Read the pack in its current state; empty where it is missing or unreadable."""
    width = protocol.images * protocol.numbers
    with suppress(OSError, ValueError):
        keys = read_regular(folder / KEYS, follow=False)
        count = min(len(keys) // _KEY, (folder / ROWS).stat().st_size // (2 * width))
        if count:
            with open_regular(folder / ROWS, follow=False) as rows:
                matrix = np.memmap(rows, "<f2", "r", shape=(count, width))
            return Pack(matrix, tuple(keys[_KEY * i : _KEY * (i + 1)] for i in range(count)))
    return Pack(np.empty((0, width), np.float16), ())


def _append(folder: Path, protocol: Protocol, new: Sequence[tuple[str, bytes]]) -> None:
    """Append rows by stem and identity, under the lock, overwriting an incomplete row left by an interruption."""
    count, width = len(read_pack(folder, protocol).keys), protocol.images * protocol.numbers
    with _open_at(folder / ROWS, 2 * width * count) as rows, _open_at(folder / KEYS, _KEY * count) as keys:
        for first in range(0, len(new), _AT_ONCE):
            part = new[first : first + _AT_ONCE]
            prints = read_prints(folder, [stem for stem, _ in part], protocol)
            rows.write(flatten(prints).astype("<f2").tobytes())
            rows.flush()
            keys.write(b"".join(key for _, key in part))
            keys.flush()


def _open_at(path: Path, length: int) -> BinaryIO:
    """Open a file for writing, truncated to `length` bytes."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b")
    file.truncate(length)
    file.seek(length)
    return file


def prune_pack(folder: Path, living: set[bytes]) -> None:
    """Delete the pack and its index where they have rows of models that are not `living`, or are empty."""
    with suppress(OSError):
        keys = read_regular(folder / KEYS, follow=False)
        if keys and all(keys[first : first + _KEY] in living for first in range(0, len(keys), _KEY)):
            return
    remove_files(folder / INDEX, folder / KEYS, folder / ROWS)


#: Bytes of rows up to which an exhaustive search is as fast as opening an index: 50,000 models of 64 images.
LEAST_BYTES = 50_000 * 64 * 64 * 2


_STALE = 0.25  # the share of rows added after the index, above which rebuilding is advised


def build_index(folder: Path, protocol: Protocol, progress: Share | None = None) -> int:
    """Index all fingerprints of the space, or add later ones to the index; returns the number of models.

    `progress` receives the share that is done, 0 to 1. Raises ConfigError where usearch is not installed, OutputError where the
    space can't be written, and SpaceError for a space without models or with a damaged fingerprint.
    """
    with open_catalogue(folder) as book:
        living = book.keys()
        pack = update_pack(folder, protocol, book, living)
    if not living:
        raise SpaceError(f"{folder} has no models to index. Add models first.")
    with lock_pack(folder) as mine:
        if pack is None or not mine:
            raise OutputError(f"Another process is using {folder}, or it is not writable. Try again later.")
        pack = read_pack(folder, protocol)
        with open_workbench(folder) as bench:
            _make_index(folder, pack, bench / "index", progress)
            place(bench / "index", folder / INDEX)
    return len(living)


def _make_index(folder: Path, pack: Pack, path: Path, progress: Share | None) -> None:
    try:
        before = None if (folder / INDEX).is_symlink() else Index.open(folder / INDEX, pack.matrix)
    except SpaceError:
        before = None
    if before is None:
        Index.build(path, pack.matrix, progress=progress)
    else:
        before.grow(path, pack.matrix, progress)


def index_for(folder: Path, pack: Pack) -> tuple[Index | None, str]:
    """Return the index, or None where there is none or exhaustive search is fast enough, and advice: "" or a sentence."""
    if pack.matrix.nbytes < LEAST_BYTES:
        return None, ""
    path = folder / INDEX
    if path.is_symlink() or not path.is_file():
        return None, f"{folder} has no index, so all fingerprints are compared. `onnxspace space index` builds one."
    try:
        index = Index.open(path, pack.matrix)
    except (SpaceError, ConfigError) as error:
        return None, f"All fingerprints are compared. {error}"
    late = len(pack.matrix) - len(index.matrix)
    stale = f"{late} models were added since the index was built. `onnxspace space index` adds them to it."
    return index, stale if late > _STALE * len(pack.matrix) else ""
