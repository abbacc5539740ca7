"""The index of the pack by use: what its rows hold, on few axes, so that a million of them are estimated in one short pass.

Each row is two vectors, whose products with those of a target are wanted. They are projected on their principal axes, drawn from a
sample of the rows: products on 64 axes propose rows, which are then read whole. `cache.use-index` is, in this order: a header, the
axes, float32 [2, numbers, axes], and the coordinates of all rows, float32 [rows, 2 · axes]. It can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError, SpaceError
from onnxspace.inputs.execution import Share
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.layout import USE_INDEX
from onnxspace.spaces.packs import Pack, Packing, choose_keys, lock_pack, read_pack, update_pack
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import convert_write_errors, place
from onnxspace.storage.regular_files import open_regular

#: Rows up to which reading all of them is as fast as opening an index.
LEAST_ROWS = 50_000
AXES, SAMPLE = 64, 1024
_STALE = 0.25  # the share of rows added after the index, above which rebuilding is advised
_MAGIC = b"\x89oxuse\r\n"
_HEADER = struct.Struct("<8sIIII32s")
_AT_ONCE = 2048
Single = NDArray[np.float32]
#: Returns the two vectors of each row: float32 [2, rows, numbers], NaN for a model without any.
ToVectors = Callable[[NDArray[Any]], Single]


@dataclass(frozen=True, eq=False)
class UseIndex:
    """`axes`, float32 [2, numbers, axes], and the `coordinates` of the first rows of a pack, float32 [rows, 2 · axes]."""

    axes: Single
    coordinates: Single

    def estimate(self, target: Single) -> Single:
        """Return the products of the target's vectors, float32 [2, numbers], with those of the rows, but for a constant: [2, rows]."""
        count, found = self.axes.shape[2], np.empty((2, len(self.coordinates)), np.float32)
        for part in range(2):  # a product with two columns at once takes three times as long
            np.matmul(self.coordinates[:, part * count : (part + 1) * count], target[part] @ self.axes[part], out=found[part])
        return found


def build_use_index(
    folder: Path, packing: Packing, to_vectors: ToVectors, progress: Share | None = None, keep: frozenset[str] | None = None
) -> int:
    """Index what models are searched by for use, of those whose identities are in `keep` (None: all); returns their number.

    `progress` receives the share that is done, 0 to 1. Raises OutputError where the space can't be written or another process writes
    it, and SpaceError for a space without models or with a damaged file.
    """
    with open_catalogue(folder) as book:
        living = choose_keys(book, keep)
        pack = update_pack(folder, packing, book, living, progress)
    if not living:
        raise SpaceError(f"{folder} has no models to index. Add models first.")
    with lock_pack(folder, packing.keys) as mine:
        if pack is None or not mine:
            raise OutputError(None, f"Another process is using {folder}, or it is not writable. Try again later.")
        pack = read_pack(folder, packing)
        with open_workbench(folder) as bench:
            _write(bench / "index", pack, to_vectors, progress)
            place(bench / "index", folder / USE_INDEX)
    return len(living)


def _write(path: Path, pack: Pack, to_vectors: ToVectors, progress: Share | None) -> None:
    axes = _find_axes(pack.rows, to_vectors)
    count = len(pack.rows)
    header = _HEADER.pack(_MAGIC, 1, count, axes.shape[1], axes.shape[2], _digest_keys(pack.keys))
    with convert_write_errors(path), path.open("wb") as file:
        file.write(header + axes.astype("<f4").tobytes())
        for first in range(0, count, _AT_ONCE):
            file.write(_project(to_vectors(pack.rows[first : first + _AT_ONCE]), axes).astype("<f4").tobytes())
            if progress is not None:
                progress(min(1.0, (first + _AT_ONCE) / count))
        file.flush()
        os.fsync(file.fileno())


def _project(vectors: Single, axes: Single) -> Single:
    return np.concatenate([vectors[part] @ axes[part] for part in range(2)], axis=1)


def _find_axes(rows: NDArray[Any], to_vectors: ToVectors) -> Single:
    """The principal axes of both vectors in an even sample of the rows, zeros where there are fewer: [2, numbers, axes]."""
    picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.intp))
    vectors = to_vectors(rows[picked])
    vectors = vectors[:, np.isfinite(vectors).all(axis=(0, 2))]
    return np.stack([_find_principal(part) for part in vectors])


def _find_principal(vectors: Single) -> Single:
    """Principal axes, float32 [numbers, AXES], of `vectors` [any number, numbers], from the products of the vectors."""
    axes = np.zeros((vectors.shape[1], AXES), np.float32)
    if len(vectors):
        centred = vectors - vectors.mean(axis=0)
        values, along = np.linalg.eigh((centred @ centred.T).astype(np.float64))
        kept = np.flatnonzero(values > 1e-9 * max(float(values[-1]), 1e-30))[::-1][:AXES]
        axes[:, : len(kept)] = centred.T @ (along[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    return axes


def open_use_index(folder: Path, pack_keys: Sequence[bytes], numbers: int) -> tuple[UseIndex | None, str]:
    """Return the index of the first rows of a pack, or None where there is none or few rows, and advice: "" or a sentence.

    `numbers` is the length of a vector.
    """
    if len(pack_keys) < LEAST_ROWS:
        return None, ""
    try:
        found = _read(folder / USE_INDEX, pack_keys, numbers)
    except (OSError, ValueError):
        return None, f"{folder} has no index by use, so all models are compared. `onnxspace space index` builds one."
    late = len(pack_keys) - len(found.coordinates)
    stale = f"{late} models were added since the index was built. `onnxspace space index` adds them to it."
    return found, stale if late > _STALE * len(pack_keys) else ""


def _read(path: Path, keys: Sequence[bytes], numbers: int) -> UseIndex:
    """Map the index of some first rows. Raises OSError or ValueError for a file that is none, or is of other rows."""
    with open_regular(path, follow=False) as file:
        magic, number, count, size, axes, digest = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size, b"\0"))
        if (magic, number, size, axes) != (_MAGIC, 1, numbers, AXES) or not 0 < count <= len(keys):
            raise ValueError("not an index of this space")
        if _digest_keys(keys[:count]) != digest:
            raise ValueError("an index of other rows")
        at = file.tell()
        kept = np.memmap(file, "<f4", "r", offset=at, shape=(2, numbers, axes))
        rows = np.memmap(file, "<f4", "r", offset=at + kept.nbytes, shape=(count, 2 * axes))
    return UseIndex(np.array(kept), rows)


def _digest_keys(keys: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(keys)).digest()
