"""Unit maps on disk: one NumPy file per model, float16 [images, height · width], complete or absent."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError


def unit(maps: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Each row divided by its own length (in float64): float16 [images, pixels], and which rows were all zero.

    A zero map has no direction: its row stays zero, and so does every cosine with it.
    """
    rows = maps.reshape(len(maps), -1).astype(np.float64)
    peak = np.abs(rows).max(axis=1, keepdims=True)
    scaled = rows / np.where(peak > 0, peak, 1.0)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return (scaled / np.where(length > 0, length, 1.0)).astype(np.float16), peak[:, 0] == 0


class MapWriter:
    """Writes the unit maps of one model row by row; the file appears under its name when all rows are there.

    Plain writes rather than a memory map: a full disk is then an error and not the end of the process.
    """

    def __init__(self, path: Path, images: int, pixels: int) -> None:
        self.path, self.shape = path, (images, pixels)
        self.rows = 0
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")

    def __enter__(self) -> MapWriter:
        with _Said(self.path):
            self._file = self._partial.open("wb")
            header = {"descr": "<f2", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(self._file, header)
        return self

    def append(self, rows: NDArray[np.float16]) -> None:
        """Add rows, float16 [any number, pixels]."""
        with _Said(self.path):
            self._file.write(np.ascontiguousarray(rows, dtype="<f2").tobytes())
        self.rows += len(rows)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            with _Said(self.path):
                self._close(whole=kind is None and self.rows == self.shape[0])
        finally:
            self._partial.unlink(missing_ok=True)

    def _close(self, *, whole: bool) -> None:
        try:
            if whole:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if whole:
            self._partial.replace(self.path)


class _Said:
    """Turns an operating-system error into one sentence with the file and the way out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(value, OSError) and not isinstance(value, OutputError):
            raise OutputError(
                value.errno,
                f"{self.path} can't be written ({value.strerror}). Free some space, or name another --output or TMPDIR.",
            ) from value


def open_maps(path: Path) -> NDArray[np.float16]:
    """The unit maps of one model, memory-mapped read-only: float16 [images, height · width]."""
    maps: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return maps
