"""A result's file: whole or not there at all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from onnxspace.errors import OnnxspaceError, OutputError
from onnxspace.storage.journal import write_all


def refuse_unfit(target: Path, inputs: Sequence[Path]) -> None:
    """Raise OutputError, before any work is done, where `target` is no name for a PNG file or is one of the inputs."""
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target} is no name for a picture. Name a file that ends in .png as --output.")
    try:
        if target.exists() and any(path.exists() and path.samefile(target) for path in inputs):
            raise OutputError(f"{target} is one of the images to be explained. Name another --output.")
        folder = next(parent for parent in Path(os.path.realpath(target)).parents if parent.exists())
        unfit = not folder.is_dir() or (target.exists() and not target.is_file())
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{target} can't be used as --output ({reason}). Name another --output.") from error
    if unfit:
        raise OutputError(f"{target} can't be written, since something else than a file is there. Name another --output.")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write to beside `target`, which takes its name when the block ends well, and vanishes otherwise."""
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
        if isinstance(error, OnnxspaceError):  # such as a model that is not there
            raise
        why = error.strerror or error
        raise OutputError(
            error.errno, f"{target} can't be written ({why}). Free some space, or name another --output."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        with suppress(OSError):  # those that hold a picture stay
            for folder in missing:
                folder.rmdir()


@contextmanager
def whole_array(target: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Gives what appends rows to a `.npy` file of this shape, which appears when all rows are there, or never.

    Plain writes rather than a memory map: a full disk is then an error and not the end of the process.
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
    """Write a new .npy file and wait until it is on the disk."""
    write_file(path, header_of(array), np.ascontiguousarray(array).data.cast("B"))


def header_of(array: NDArray[Any]) -> bytes:
    """What precedes the numbers in a .npy file."""
    header = io.BytesIO()
    facts = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


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
