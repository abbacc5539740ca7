"""Atomic writes: a result's file is complete or absent. Temporary folders."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from onnxspace.errors import OnnxspaceError, OutputError
from onnxspace.storage.journal import write_all


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new temporary folder, which is removed with its content after the block."""
    with tempfile.TemporaryDirectory(prefix="onnxspace-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Write `target` atomically: yield a temporary path beside it, which is renamed to `target` when the block succeeds.

    The temporary file is removed if the block fails. Missing parent folders are created. Raises OutputError where the file
    can't be written.
    """
    place = Path(os.path.realpath(target))
    missing = [folder for folder in place.parents if not folder.exists()]
    partial = place.with_name(f".{place.name[:200]}.{os.getpid()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(place)
    except OSError as error:
        if isinstance(error, OnnxspaceError):  # such as a missing model
            raise
        why = error.strerror or error
        raise OutputError(
            error.errno, f"{target} can't be written ({why}). Free some space, or name another --output."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        with suppress(OSError):  # folders that are not empty stay
            for folder in missing:
                folder.rmdir()


@contextmanager
def whole_array(target: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a `.npy` file of this `shape` and `dtype` (stored little-endian) atomically: yield a function that appends rows.

    The file appears under its name only when the block succeeds. Rows are written plainly rather than through a memory map,
    so that a full disk raises an error instead of killing the process. Raises OutputError as `whole_file`.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind.str, "fortran_order": False, "shape": shape})
    with whole_file(target) as partial, partial.open("wb") as out:
        out.write(header.getvalue())

        def append(rows: NDArray[Any]) -> None:
            out.write(np.ascontiguousarray(rows, dtype=kind).data)

        yield append
        out.flush()


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write `array` to a new .npy file and flush it to disk. Raises OutputError."""
    write_file(path, header_of(array), np.ascontiguousarray(array).data.cast("B"))


def header_of(array: NDArray[Any]) -> bytes:
    """Return the header of the .npy file of `array`: the bytes before the numbers."""
    header = io.BytesIO()
    facts = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


def write_file(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts` in order to a new file and flush it to disk. Raises OutputError."""
    with convert_write_errors(path), io.FileIO(path, "w") as file:
        for part in parts:
            write_all(file, part)  # type: ignore[arg-type]
        os.fsync(file.fileno())


def place(source: Path, target: Path) -> None:
    """Rename the complete, synchronised file `source` to `target`, so that it survives a power cut under that name.

    Raises OutputError.
    """
    with convert_write_errors(target):
        source.replace(target)
        sync_folder(target.parent)


def remove_files(*paths: Path) -> None:
    """Remove files, ignoring those that do not exist. Raises OutputError."""
    for path in paths:
        with convert_write_errors(path):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the platform supports it."""
    with suppress(OSError):  # some platforms can't open folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def convert_write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError of the block to an OutputError: one sentence that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            error.errno, f"{path} can't be written ({error.strerror or error}). Free some space, or check its permissions."
        ) from error
