"""Opening untrusted files for reading: regular files only, so that a pipe or a device can't block or feed the reader.

A file is opened once and judged by its open handle, so that nothing can be exchanged between the judgement and the reading.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_MOST_HEADER = 10_000  # characters of the header of a `.npy` file


class NotRegularError(OSError):
    """A path that leads to a pipe, a device, a socket or, where links are not followed, a link."""


def open_regular(path: str | Path, *, follow: bool = True) -> BufferedReader:
    """Open the regular file at `path` for reading, as `open(path, "rb")` does; `follow` says whether it may be a link.

    Raises NotRegularError for anything but a file or a folder, IsADirectoryError for a folder, and OSError.

    >>> open_regular(__file__).readable()
    True
    """
    number = _open(path, follow=follow)
    try:
        _check_kind(os.fstat(number), path)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _open(path: str | Path, *, follow: bool) -> int:
    try:
        return os.open(path, _FLAGS | (0 if follow else _NO_LINK))
    except OSError as error:
        if not follow and error.errno in (errno.ELOOP, errno.EMLINK):
            raise NotRegularError(errno.EINVAL, "it is a link, not a regular file", str(path)) from error
        if error.errno == errno.ENXIO:  # a socket
            raise NotRegularError(errno.EINVAL, "it is not a regular file", str(path)) from error
        raise


def _check_kind(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(errno.EINVAL, "it is not a regular file", str(path))


def read_regular(path: str | Path, most: int | None = None, *, follow: bool = True) -> bytes:
    """Read the regular file at `path`; at most `most` bytes and one more, by which a caller sees that there are more.

    `follow` says whether it may be a link. Raises OSError as `open_regular`.
    """
    with open_regular(path, follow=follow) as file:
        return file.read() if most is None else file.read(most + 1)


def map_array(path: str | Path, *, follow: bool = True) -> NDArray[Any]:
    """Map the array of the regular `.npy` file at `path` into memory, read-only, as `numpy.load(path, "r")` does.

    Raises OSError as `open_regular`, and ValueError for a file that holds no array of plain numbers.
    """
    with open_regular(path, follow=follow) as file:
        shape, fortran, dtype = _read_header(file)
        if _size_of(shape, dtype) > os.fstat(file.fileno()).st_size - file.tell():
            raise ValueError("it is shorter than its array")
        order = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", file.tell(), shape, order)  # type: ignore[call-overload, no-any-return]


def load_array(path: str | Path, *, follow: bool = True) -> NDArray[Any]:
    """Read the array of the regular `.npy` file at `path` into memory. Raises as `map_array`."""
    with open_regular(path, follow=follow) as file:
        shape, _, dtype = _read_header(file)
        if _size_of(shape, dtype) != os.fstat(file.fileno()).st_size - file.tell():
            raise ValueError("it has another length than its array")
        file.seek(0)
        found: NDArray[Any] = np.load(file, allow_pickle=False)
        return found


def _size_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return dtype.itemsize * math.prod(shape)


def _read_header(file: BufferedReader) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of the array in a `.npy` file, which is read up to its numbers."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file, max_header_size=_MOST_HEADER)
    except Exception as error:  # NumPy's parser raises errors of many types for a damaged header
        raise ValueError("it is not a .npy file, or is damaged") from error
    if dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError("it does not hold numbers")
    return shape, fortran, dtype
