"""The files of a space: written whole, read with their shape checked."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError, SpaceError
from onnxspace.journal import write_all
from onnxspace.spaces.catalogue import FOLDERS
from onnxspace.spaces.facts import Entry, Made, Sum, is_stem

MAPS, PRINTS, WORK = FOLDERS
PROBES, BASELINE = "probes.npy", "baseline.png"
CACHE, KEYS, ROWS = "cache.sqlite", "cache.keys", "cache.rows"


def maps_path(folder: Path, stem: str) -> Path:
    return folder / MAPS / f"{stem}.npy"


def prints_path(folder: Path, stem: str) -> Path:
    return folder / PRINTS / f"{stem}.npy"


def files_of(folder: Path, entry: Entry) -> dict[Path, Sum]:
    """Every file of a model, with its checksum."""
    maps = {} if entry.maps is None else {maps_path(folder, entry.stem): entry.maps}
    return {**maps, prints_path(folder, entry.stem): entry.prints}


def open_prints(folder: Path, entry: Entry, made: Made) -> NDArray[np.float16]:
    """A model's fingerprint, float16 [images, numbers]."""
    return open_stem(folder, entry.stem, made)


def open_stem(folder: Path, stem: str, made: Made) -> NDArray[np.float16]:
    """The fingerprint of this stem, float16 [images, numbers]."""
    if not is_stem(stem):
        raise SpaceError(f"{folder} names a file that no space has. Run `onnxspace space verify`.")
    return opened(prints_path(folder, stem), (made.images, made.numbers), np.dtype("<f2"))


def checked_maps(folder: Path, entry: Entry, made: Made) -> Path:
    """The file of a model's unit maps, float16 [images, pixels]."""
    path = maps_path(folder, entry.stem)
    opened(path, made.shape, np.dtype("<f2"))
    return path


def opened(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array mapped read-only. Raises SpaceError for a file that is gone, no plain file, or not of that shape."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError("not a plain file")
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise SpaceError(f"{path} is missing. Run `onnxspace space verify`, and add its model again.") from error
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise _damaged(path, _reason(error)) from error
    if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != dtype or not found.flags.c_contiguous:
        raise _damaged(path, f"not an array of {dtype} {list(shape)}")
    return found


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a new .npy file and wait until it is on the disk."""
    header = io.BytesIO()
    facts = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    write_file(path, header.getvalue(), np.ascontiguousarray(array).data.cast("B"))


def write_file(path: Path, *parts: bytes | memoryview) -> None:
    """Write a new file and wait until it is on the disk."""
    with written(path), io.FileIO(path, "w") as file:
        for part in parts:
            write_all(file, part)  # type: ignore[arg-type]
        os.fsync(file.fileno())


def place(source: Path, target: Path) -> None:
    """Give a whole, synchronised file its name; after this it survives a power cut under that name."""
    with written(target):
        source.replace(target)
        sync_folder(target.parent)


def drop(*paths: Path) -> None:
    """Remove files that may be there."""
    for path in paths:
        with written(path):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    with suppress(OSError):  # folders can't be opened everywhere
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sum_of(path: Path) -> Sum:
    """Length and SHA-256 of a plain file. Raises OSError."""
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(2, "no plain file", str(path))
    digest, length = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
            length += len(part)
    return Sum(length, digest.hexdigest())


@contextmanager
def written(path: Path) -> Iterator[None]:
    """An operating-system error as one sentence with the file and the way out."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            error.errno, f"{path} can't be written ({error.strerror or error}). Free some space, or check its permissions."
        ) from error


def _reason(error: BaseException) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return why.splitlines()[0][:200].rstrip(".")


def _damaged(path: Path, why: str) -> SpaceError:
    return SpaceError(f"{path} is damaged ({why}). Remove its model from the space and add it again.")
