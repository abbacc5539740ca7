"""The approximate index of a space's fingerprints: made on demand, good for the rows that were there, never needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.index import Index
from onnxspace.spaces.catalogue import catalogue
from onnxspace.spaces.facts import Made
from onnxspace.spaces.files import INDEX, place
from onnxspace.spaces.pack import Pack, held, packed, read
from onnxspace.spaces.work import workbench

#: Bytes of rows up to which looking at all of them is as quick as opening an index: 50,000 models of 64 images.
LEAST_BYTES = 50_000 * 64 * 64 * 2
_STALE = 0.25  # share of rows that came after the index, from which on it is said


def build(folder: Path, made: Made, progress: Callable[[float], None] | None = None) -> int:
    """Index all fingerprints, or add those that came since; gives the number of models.

    Raises ConfigError without usearch, OutputError, and SpaceError for a damaged fingerprint.
    """
    with catalogue(folder) as book:
        living = book.keys()
        pack = packed(folder, made, book, living)
    if not living:
        raise SpaceError(f"{folder} has no models, and so nothing to index. Add models.")
    with held(folder) as mine:
        if pack is None or not mine:
            raise OutputError(f"Another process is at work in {folder}, or nothing can be written there. Try again later.")
        pack = read(folder, made)
        with workbench(folder) as bench:
            _made(folder, pack, bench / "index", progress)
            place(bench / "index", folder / INDEX)
    return len(living)


def _made(folder: Path, pack: Pack, path: Path, progress: Callable[[float], None] | None) -> None:
    try:
        before = None if (folder / INDEX).is_symlink() else Index.open(folder / INDEX, pack.matrix)
    except SpaceError:
        before = None
    if before is None:
        Index.build(path, pack.matrix, progress=progress)
    else:
        before.grow(path, pack.matrix, progress)


def index_for(folder: Path, pack: Pack) -> tuple[Index | None, str]:
    """The index where it is worth its opening, and what there is to say of it: "" or a sentence."""
    if pack.matrix.nbytes < LEAST_BYTES:
        return None, ""
    path = folder / INDEX
    if path.is_symlink() or not path.is_file():
        return None, f"{folder} has no index, so all fingerprints are compared. `onnxspace space index` makes one."
    try:
        index = Index.open(path, pack.matrix)
    except (SpaceError, ConfigError) as error:
        return None, f"All fingerprints are compared. {error}"
    late = len(pack.matrix) - len(index.matrix)
    stale = f"{late} models were added since the index was made. `onnxspace space index` takes them in."
    return index, stale if late > _STALE * len(pack.matrix) else ""
