"""The pack of fingerprints, and the index of its rows, for searches of the nearest models.

`cache.index` is an index (`onnxspace.similarity.fingerprints.hnsw`) of the first rows of the pack; rows added later are searched
exhaustively.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.inputs.execution import Share
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.count_sketch import flatten
from onnxspace.similarity.fingerprints.hnsw import Index
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.layout import ALIVE, INDEX, KEYS, ROWS, read_prints
from onnxspace.spaces.packs import Packing, choose_keys, lock_pack, read_pack, update_pack
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import place

Matrix = NDArray[np.float16]


def pack_prints(folder: Path, protocol: Protocol) -> Packing:
    """Return how fingerprints are packed: rows of float16 [images · numbers]."""
    size = 2 * protocol.images * protocol.numbers

    def make(entries: Sequence[CatalogueEntry]) -> NDArray[Any]:
        rows = flatten(read_prints(folder, [entry.stem for entry in entries], protocol)).astype("<f2")
        return rows.view(f"V{size}")[:, 0]

    return Packing(KEYS, ROWS, ALIVE, np.dtype(f"V{size}"), make, checked=False)


def as_matrix(rows: NDArray[Any]) -> Matrix:
    """Return the rows of a pack of fingerprints as float16 [rows, images · numbers]."""
    return rows.view("<f2").reshape(len(rows), rows.dtype.itemsize // 2)


#: Bytes of rows up to which an exhaustive search is as fast as opening an index: 50,000 models of 64 images.
LEAST_BYTES = 50_000 * 64 * 64 * 2


_STALE = 0.25  # the share of rows added after the index, above which rebuilding is advised


def build_index(folder: Path, protocol: Protocol, progress: Share | None = None, keep: frozenset[str] | None = None) -> int:
    """Index all fingerprints of the space, or add later ones to the index; returns the number of models.

    Only models whose identities are in `keep` are read (None: all). `progress` receives the share that is done, 0 to 1. Raises ConfigError where usearch is not installed, OutputError where the
    space can't be written, and SpaceError for a space without models or with a damaged fingerprint.
    """
    with open_catalogue(folder) as book:
        living = choose_keys(book, keep)
        packing = pack_prints(folder, protocol)
        pack = update_pack(folder, packing, book, living)
    if not living:
        raise SpaceError(f"{folder} has no models to index. Add models first.")
    with lock_pack(folder) as mine:
        if pack is None or not mine:
            raise OutputError(f"Another process is using {folder}, or it is not writable. Try again later.")
        matrix = as_matrix(read_pack(folder, packing).rows)
        with open_workbench(folder) as bench:
            _make_index(folder, matrix, bench / "index", progress)
            place(bench / "index", folder / INDEX)
    return len(living)


def _make_index(folder: Path, matrix: Matrix, path: Path, progress: Share | None) -> None:
    try:
        before = None if (folder / INDEX).is_symlink() else Index.open(folder / INDEX, matrix)
    except SpaceError:
        before = None
    if before is None:
        Index.build(path, matrix, progress=progress)
    else:
        before.grow(path, matrix, progress)


def index_for(folder: Path, matrix: Matrix) -> tuple[Index | None, str]:
    """Return the index, or None where there is none or exhaustive search is fast enough, and advice: "" or a sentence."""
    if matrix.nbytes < LEAST_BYTES:
        return None, ""
    path = folder / INDEX
    if path.is_symlink() or not path.is_file():
        return None, f"{folder} has no index, so all fingerprints are compared. `onnxspace space index` builds one."
    try:
        index = Index.open(path, matrix)
    except (SpaceError, ConfigError) as error:
        return None, f"All fingerprints are compared. {error}"
    late = len(matrix) - len(index.matrix)
    stale = f"{late} models were added since the index was built. `onnxspace space index` adds them to it."
    return index, stale if late > _STALE * len(matrix) else ""
