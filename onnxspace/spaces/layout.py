"""The files of a space: their paths, and reading with checks of shape and type."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import DamagedFileError, SpaceError
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.reduced import Reduced, unpack
from onnxspace.spaces.catalogue import FOLDERS, Catalogue
from onnxspace.spaces.schema import CatalogueEntry, Checksum, file_stem, split_stem
from onnxspace.storage.atomic import remove_files
from onnxspace.storage.float16 import all_finite
from onnxspace.storage.regular_files import map_array, open_regular

MAPS, PRINTS, WORK, REDUCED = FOLDERS
MOST_REDUCED_BYTES = 2**28
PROBES, BASELINE = "probes.npy", "baseline.png"
#: Statistics of the images, of a space with several sets.
STATISTICS = "statistics.npy"
CACHE, KEYS, ROWS, INDEX, ALIVE = "cache.sqlite", "cache.keys", "cache.rows", "cache.index", "cache.alive"
USE_KEYS, USE_ROWS, USE_INDEX, USE_ALIVE = "cache.use-keys", "cache.use-rows", "cache.use-index", "cache.use-alive"


def maps_path(folder: Path, stem: str) -> Path:
    """Return the path of the unit maps of `stem`."""
    return folder / MAPS / f"{stem}.npy"


def prints_path(folder: Path, stem: str) -> Path:
    """Return the path of the fingerprint of `stem`, or of the sheet that holds it as a row."""
    return folder / PRINTS / f"{file_stem(stem)}.npy"


def reduced_path(folder: Path, stem: str) -> Path:
    """Return the path of the file that holds features and outputs in little of `stem`, or of all models of its sheet."""
    return folder / REDUCED / f"{file_stem(stem)}.bin"


#: The places of a stem's files.
PLACES = (maps_path, prints_path, reduced_path)


def files_of(folder: Path, entry: CatalogueEntry) -> tuple[Path, ...]:
    """Return all files of a model; a sheet of fingerprints belongs to several models."""
    maps = () if entry.maps is None else (maps_path(folder, entry.stem),)
    reduced = () if entry.reduced is None else (reduced_path(folder, entry.stem),)
    return (*maps, prints_path(folder, entry.stem), *reduced)


def read_part(folder: Path, entry: CatalogueEntry) -> bytes:
    """Read the bytes of a model's features and outputs in little, and check them. Raises SpaceError; the model has some."""
    path, part = reduced_path(folder, entry.stem), entry.reduced
    assert part is not None
    try:
        with open_regular(path, follow=False) as file:
            file.seek(part.start)
            content = file.read(min(part.length, MOST_REDUCED_BYTES))
    except FileNotFoundError as error:
        raise _missing(path, entry.stem) from error
    except OSError as error:
        raise _damaged(path, _reason(error), entry.stem) from error
    if len(content) < part.length:
        raise _damaged(path, f"it is truncated within the part of {entry.name}", entry.stem)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise _damaged(path, f"the part of {entry.name} has changed", entry.stem)
    return content


def read_reduced(folder: Path, entry: CatalogueEntry, protocol: Protocol) -> Reduced | None:
    """Read a model's features and outputs in little; None where it has none. Raises SpaceError for a damaged file."""
    if entry.reduced is None:
        return None
    try:
        return unpack(read_part(folder, entry), protocol.images)
    except ValueError as error:
        if isinstance(error, SpaceError):
            raise
        raise _damaged(reduced_path(folder, entry.stem), str(error), entry.stem) from error


def read_prints(folder: Path, stems: Sequence[str], protocol: Protocol) -> NDArray[np.float16]:
    """Read the fingerprints of `stems`, float16 [stems, images, numbers], opening each file once.

    Raises SpaceError for a file that is missing or damaged.
    """
    found = np.empty((len(stems), protocol.images, protocol.numbers), np.dtype("<f2"))
    places: dict[str, list[tuple[int, int | None]]] = {}
    for place, stem in enumerate(stems):
        if (at := split_stem(stem)) is None:
            raise SpaceError(f"{folder} refers to a file with an invalid name. Run `onnxspace space verify`.")
        places.setdefault(at[0], []).append((place, at[1]))
    for name, rows in places.items():
        if rows[0][1] is None:
            found[[place for place, _ in rows]] = open_array(prints_path(folder, name), found.shape[1:], found.dtype)
        else:
            _copy_rows(open_sheet(folder, name, protocol), rows, found, prints_path(folder, name))
        if not all_finite(found[[place for place, _ in rows]]):
            odd = [stems[place] for place, _ in rows if not all_finite(found[place])]
            raise _damaged(prints_path(folder, name), "a number in it is not finite", *odd)
    return found


def _copy_rows(
    sheet: NDArray[np.float16], rows: Sequence[tuple[int, int | None]], found: NDArray[np.float16], path: Path
) -> None:
    numbers = [-1 if row is None else row for _, row in rows]
    if min(numbers) < 0 or max(numbers) >= len(sheet):
        lacking = (f"{path.stem}.{row}" for row in numbers if not 0 <= row < len(sheet))
        raise _damaged(path, f"a sheet of {len(sheet)} rows", *lacking)
    found[[place for place, _ in rows]] = sheet[numbers]


def open_sheet(folder: Path, stem: str, protocol: Protocol) -> NDArray[np.float16]:
    """Open a sheet of fingerprints, float16 [any number, images, numbers], memory-mapped. Raises SpaceError."""
    return open_array(prints_path(folder, stem), (None, protocol.images, protocol.numbers), np.dtype("<f2"))


def check_maps(folder: Path, entry: CatalogueEntry, protocol: Protocol) -> Path:
    """Return the path of a model's unit maps, after checking that they are float16 [images, pixels]. Raises SpaceError."""
    path = maps_path(folder, entry.stem)
    open_array(path, protocol.shape, np.dtype("<f2"))
    return path


def open_array(path: Path, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Open an array of this `shape` and `dtype`, memory-mapped read-only; the first axis may be None, for any length.

    Raises SpaceError for a file that is missing, is not a regular file, or has another shape or type.
    """
    try:
        found = map_array(path, follow=False)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise _damaged(path, _reason(error)) from error
    stored = found.shape if isinstance(found, np.ndarray) else ()
    if shape[0] is None:
        shape = (*stored[:1], *shape[1:])
    if not isinstance(found, np.ndarray) or stored != shape or found.dtype != dtype or not found.flags.c_contiguous:
        raise _damaged(path, f"not an array of {dtype} {list(shape)}")
    return found


def is_truncated(path: Path) -> bool:
    """Return whether the file of an array has fewer bytes than its header states; False for one without a header."""
    try:
        with open_regular(path, follow=False) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            size = file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
        return path.stat().st_size < size
    except (OSError, ValueError, EOFError, SyntaxError):
        return False


def checksum_of(path: Path) -> Checksum:
    """Return length and SHA-256 of a regular file. Raises OSError."""
    digest, length = hashlib.sha256(), 0
    with open_regular(path, follow=False) as file:
        while part := file.read(2**20):
            digest.update(part)
            length += len(part)
    return Checksum(length, digest.hexdigest())


def _reason(error: BaseException) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return why.splitlines()[0][:200].rstrip(".")


def _damaged(path: Path, why: str, *stems: str) -> DamagedFileError:
    """The error for a damaged file of the models `stems`; without any, of all models whose file it is."""
    words = f"{path} is damaged ({why}). Remove its model from the space and add it again."
    return DamagedFileError(words, *(stems or (path.stem,)))


def _missing(path: Path, *stems: str) -> DamagedFileError:
    words = f"{path} is missing. Run `onnxspace space verify`, and add its model again."
    return DamagedFileError(words, *(stems or (path.stem,)))


def remove_leftovers(folder: Path, book: Catalogue) -> int:
    """Remove the files that the catalogue notes as left over, and return their number."""
    if not book.leftovers():
        return 0
    count = 0
    with book.transaction():
        for stem in book.leftovers():
            if not book.uses(stem):
                there = [path for make in PLACES if (path := make(folder, stem)).exists()]
                remove_files(*there)
                count += len(there)
            book.forget(stem)
    return count
