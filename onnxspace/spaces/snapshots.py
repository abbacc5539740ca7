"""What a search of a space rests on, kept in memory between searches: the pack, which rows are of living models, the index.

Reading the identities of a million models takes seconds, so that they are read again only after the catalogue or a file of the pack
has changed, even by another process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import Share
from onnxspace.spaces.catalogue import CATALOGUE, Catalogue
from onnxspace.spaces.living_rows import read_living, write_living
from onnxspace.spaces.packs import Pack, Packing, read_pack, update_pack
from onnxspace.storage.regular_files import open_regular

#: Opens the index of a pack, given the pack: the index, None for none, and advice on it, "" or a sentence.
OpenIndex = Callable[[Pack], tuple[Any, str]]
_MOST = 4
_COUNTER = slice(24, 28)  # of SQLite's header, raised by every transaction that writes


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A `pack`, which of its rows are `alive`, bool [rows], and its `index` with `advice`."""

    pack: Pack
    alive: NDArray[np.bool_]
    index: Any
    advice: str


_KEPT: dict[tuple[Path, str], tuple[object, Snapshot]] = {}


def take_snapshot(
    folder: Path, packing: Packing, book: Catalogue, open_index: OpenIndex, files: tuple[str, ...], progress: Share | None = None,
    keep: frozenset[bytes] | None = None,
) -> Snapshot | None:  # fmt: skip
    """Return the pack with all models of the space, its living rows, and its index; that of an earlier call if nothing changed.

    `files` are those of the pack and its index. With `keep`, identities, only these models count as living, and no others are packed. Returns None where the pack can't be updated. Raises SpaceError for a damaged space.
    """
    place, before = (folder.absolute(), packing.keys), _stamp(folder, files)
    kept = _KEPT.get(place)
    if keep is not None:
        return _read_snapshot(folder, packing, book, open_index, book.keys() & keep, progress)
    if kept is not None and kept[0] == before:
        return kept[1]
    found = _read_kept_snapshot(folder, packing, open_index, before[0])
    if found is None:
        found = _read_snapshot(folder, packing, book, open_index, book.keys(), progress)
        if found is None:
            return None
        write_living(folder / packing.alive, _state(folder, packing, before[0]), found.alive)
    while len(_KEPT) >= _MOST:
        _KEPT.pop(next(iter(_KEPT)), None)
    after = _stamp(folder, files)
    _KEPT[place] = ((before[0], *after[1:]), found)  # of the catalogue as it was before it was read
    return found


def _read_kept_snapshot(folder: Path, packing: Packing, open_index: OpenIndex, catalogue: object) -> Snapshot | None:
    """The snapshot without reading the catalogue, where an earlier process kept which rows are of living models."""
    pack = read_pack(folder, packing)
    alive = read_living(folder / packing.alive, _state(folder, packing, catalogue), len(pack.keys))
    return None if alive is None else Snapshot(pack, alive, *open_index(pack))


def _state(folder: Path, packing: Packing, catalogue: object) -> tuple[object, ...]:
    """What living rows depend on: the catalogue, as `_stamp` describes it, and the keys of the pack."""
    return catalogue, _identify(folder / packing.keys)


def _read_snapshot(
    folder: Path, packing: Packing, book: Catalogue, open_index: OpenIndex, living: set[bytes], progress: Share | None
) -> Snapshot | None:  # fmt: skip
    pack = update_pack(folder, packing, book, living, progress)
    return None if pack is None else Snapshot(pack, pack.alive_rows(living), *open_index(pack))


def _stamp(folder: Path, files: tuple[str, ...]) -> tuple[object, ...]:
    counter = b""
    with suppress(OSError), open_regular(folder / CATALOGUE) as file:
        counter = file.read(_COUNTER.stop)[_COUNTER]
    return ((counter, _identify(folder / CATALOGUE)), *(_identify(folder / name) for name in files))


def _identify(path: Path) -> tuple[int, ...]:
    try:
        found = path.lstat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
