"""Unit maps on disk: one NumPy file per model, float16 [images, height · width], written atomically."""

from __future__ import annotations

import io
import os
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError
from onnxspace.storage.journal import Journal, Shard, count_valid_shards, write_all
from onnxspace.storage.regular_files import map_array

#: The most work that a power cut may lose; if only the process ends, nothing that was appended is lost.
SYNC_SECONDS = 1.0


def to_unit_maps(maps: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Normalise maps, float [images, …], to unit length: float16 [images, pixels], and bool [images], which rows are all zero.

    Lengths are computed in float64. A zero map has no direction: its row stays zero, and so does every cosine with it.
    """
    rows = maps.reshape(len(maps), -1).astype(np.float64)
    peak = np.abs(rows).max(axis=1, keepdims=True)
    scaled = rows / np.where(peak > 0, peak, 1.0)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return (scaled / np.where(length > 0, length, 1.0)).astype(np.float16), peak[:, 0] == 0


class MapWriter:
    """Writes the unit maps of one model row by row; the file appears under its name when all rows are written.

    Without a journal an unfinished file is removed. With one, its rows are kept and the next writer continues after them:
    appended rows survive the end of the process, and a power cut except for the last second. Rows that do not match the
    journal's checksums are dropped, with all rows after them. Rows are written plainly rather than through a memory map, so
    that a full disk raises an error instead of killing the process.
    """

    def __init__(self, path: Path, images: int, pixels: int, journal: Journal | None = None) -> None:
        self.path, self.shape = path, (images, pixels)
        self.rows = self.zeros = self.batch = 0
        self.errors: list[float] = []
        self._partial = path.with_name(f".{path.name}.partial")
        self._header, self._row = _header(self.shape), 2 * pixels
        self._journal = journal
        self._file: io.FileIO | None = None
        self._synced = time.monotonic()

    @property
    def remarks(self) -> tuple[str, ...] | None:
        """The remarks passed to `finish`; None before that."""
        return None if self._journal is None else self._journal.remarks

    @property
    def _end(self) -> int:
        return len(self._header) + self.rows * self._row

    def __enter__(self) -> MapWriter:
        with _OutputErrors(self.path):
            there = self.path if self.path.exists() else self._partial
            sound = self._resume(there)
            if self.remarks is None or self.rows < self.shape[0] or there.stat().st_size != self._end:
                self._open(there, sound)
            elif there != self.path:
                self._partial.replace(self.path)
        return self

    def _resume(self, there: Path) -> int:
        """Count the rows whose checksums match the journal, and return the number of their shards."""
        shards = [] if self._journal is None else self._journal.shards
        sound = count_valid_shards(there, self._header, shards, self._row) if shards else 0
        for shard in shards[:sound]:
            self._count(shard)
        return sound

    def _count(self, shard: Shard) -> None:
        self.rows, self.zeros, self.batch = self.rows + shard.rows, self.zeros + shard.zeros, shard.rows
        self.errors += shard.errors

    def _open(self, there: Path, sound: int) -> None:
        if sound == 0:
            there.unlink(missing_ok=True)
        elif there != self._partial and there.stat().st_nlink > 1:  # linked from a result too, which must not change
            shutil.copyfile(there, self._partial)
            there.unlink()
        elif there != self._partial:
            there.replace(self._partial)
        self._file = io.FileIO(os.open(self._partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+")
        if sound == 0:
            write_all(self._file, self._header)
        self._file.truncate(self._end)
        self._file.seek(self._end)
        if self._journal is not None:
            self._journal.open(sound)

    def append(self, rows: NDArray[np.float16], errors: Sequence[float] = ()) -> None:
        """Append `rows`, float16 [any number, pixels], and the standard error of each where they are estimates.

        Raises OutputError where the file can't be written.
        """
        content = np.ascontiguousarray(rows, dtype="<f2").tobytes()
        shard = Shard(len(rows), zlib.crc32(content), int(np.count_nonzero(~rows.any(axis=1))), tuple(errors))
        assert self._file is not None
        with _OutputErrors(self.path):
            write_all(self._file, content)
            if self._journal is not None:
                self._journal.add(shard)
                if time.monotonic() - self._synced >= SYNC_SECONDS:
                    self._sync()
        self._count(shard)

    def finish(self, remarks: Sequence[str]) -> None:
        """Mark the file as complete in the journal, with `remarks` for its readers. Raises OutputError."""
        with _OutputErrors(self.path):
            if self._journal is not None:
                self._journal.end(remarks)

    def _sync(self) -> None:
        """Flush the rows before the journal lines with their checksums."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        if self._journal is not None:
            self._journal.sync()
        self._synced = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        whole = kind is None and self.rows == self.shape[0]
        kept = self._journal is not None and self.rows > 0
        if self._file is None:
            return
        try:
            with _OutputErrors(self.path):
                self._close(sync=whole or kept)
                if whole:
                    self._partial.replace(self.path)
        finally:
            if not kept:
                self._partial.unlink(missing_ok=True)
                if self._journal is not None:
                    self._journal.path.unlink(missing_ok=True)

    def _close(self, *, sync: bool) -> None:
        try:
            if sync:
                self._sync()
        finally:
            if self._file is not None:
                self._file.close()
            if self._journal is not None:
                self._journal.close()


class _OutputErrors:
    """Converts an OSError to an OutputError: one sentence that names the file and what to do."""

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
    """Open the unit maps of one model, memory-mapped read-only: float16 [images, height · width].

    Raises OSError or ValueError for a file that NumPy can't read.
    """
    maps: NDArray[np.float16] = map_array(path)
    return maps


def _header(shape: tuple[int, int]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return header.getvalue()
