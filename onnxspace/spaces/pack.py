"""All fingerprints of a space in one file, row by row, so that a search is one pass over it. Nothing is lost with it.

`cache.keys` holds the identity of each row (32 bytes), `cache.rows` the rows themselves: float16, as `search` takes them. Both
are only ever added to, rows first. What is found here decides nothing: the fingerprints' own files are read again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from onnxspace.countsketch import flatten
from onnxspace.locks import take
from onnxspace.spaces.catalogue import Listed
from onnxspace.spaces.facts import Made
from onnxspace.spaces.files import KEYS, ROWS, open_stem

_KEY, _AT_ONCE = 32, 1024


@dataclass(frozen=True)
class Pack:
    """`matrix` float16 [rows, images · numbers]; `rows` leads from an identity to its row; others are of removed models."""

    matrix: NDArray[np.float16]
    rows: dict[bytes, int]


def packed(folder: Path, made: Made, models: Sequence[Listed]) -> Pack | None:
    """The pack with every one of these models; None where it can't be written, or another process is at it."""
    found = _read(folder, made)
    if found.rows.keys() >= {model.key for model in models}:
        return found
    try:
        number = os.open(folder / KEYS, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError:
        return None
    try:
        if take(number, unknown=False):
            _append(folder, made, models)
            return _read(folder, made)
    except OSError:
        return None
    finally:
        os.close(number)
    return None


def _read(folder: Path, made: Made) -> Pack:
    width = made.images * made.numbers
    with suppress(OSError, ValueError):
        keys = (folder / KEYS).read_bytes() if not (folder / KEYS).is_symlink() else b""
        count = min(len(keys) // _KEY, (folder / ROWS).stat().st_size // (2 * width))
        if count and not (folder / ROWS).is_symlink():
            matrix = np.memmap(folder / ROWS, "<f2", "r", shape=(count, width))
            return Pack(matrix, {keys[_KEY * i : _KEY * (i + 1)]: i for i in range(count)})
    return Pack(np.empty((0, width), np.float16), {})


def _append(folder: Path, made: Made, models: Sequence[Listed]) -> None:
    """Add the rows that are missing, under the lock; half of one that an interruption left is written over."""
    found = _read(folder, made)
    new = [model for model in models if model.key not in found.rows]
    count, width = len(found.matrix), made.images * made.numbers
    del found
    with _extended(folder / ROWS, 2 * width * count) as rows, _extended(folder / KEYS, _KEY * count) as keys:
        for first in range(0, len(new), _AT_ONCE):
            part = new[first : first + _AT_ONCE]
            prints = np.stack([open_stem(folder, model.stem, made) for model in part])
            rows.write(flatten(prints).astype("<f2").tobytes())
            rows.flush()
            keys.write(b"".join(model.key for model in part))
            keys.flush()


def _extended(path: Path, length: int) -> BinaryIO:
    """A file open for writing after its first `length` bytes."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b")
    file.truncate(length)
    file.seek(length)
    return file
