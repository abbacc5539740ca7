"""Unit maps on disk: one NumPy file per model, float16 [images, height · width], complete or absent."""

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
from onnxspace.storage.journal import Journal, Shard, count_sound, write_all

#: How much work a power cut may cost; the end of the process alone costs none that was appended.
SYNC_SECONDS = 1.0


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

    Without a journal nothing remains of an unfinished file. With one, its rows are kept and the next writer goes on after
    them: what was appended survives the end of the process, and a power cut but for the last second. Rows that are not
    as the journal says are dropped, with all after them. Plain writes rather than a memory map: a full disk is then an
    error and not the end of the process.
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
        """What was said when the file was finished; None before."""
        return None if self._journal is None else self._journal.remarks

    @property
    def _end(self) -> int:
        return len(self._header) + self.rows * self._row

    def __enter__(self) -> MapWriter:
        with _OutputErrors(self.path):
            there = self.path if self.path.exists() else self._partial
            sound = self._take_up(there)
            if self.remarks is None or self.rows < self.shape[0] or there.stat().st_size != self._end:
                self._open(there, sound)
            elif there != self.path:
                self._partial.replace(self.path)
        return self

    def _take_up(self, there: Path) -> int:
        """Count what the journal vouches for and the file holds; gives the number of shards."""
        shards = [] if self._journal is None else self._journal.shards
        sound = count_sound(there, self._header, shards, self._row) if shards else 0
        for shard in shards[:sound]:
            self._count(shard)
        return sound

    def _count(self, shard: Shard) -> None:
        self.rows, self.zeros, self.batch = self.rows + shard.rows, self.zeros + shard.zeros, shard.rows
        self.errors += shard.errors

    def _open(self, there: Path, sound: int) -> None:
        if sound == 0:
            there.unlink(missing_ok=True)
        elif there != self._partial and there.stat().st_nlink > 1:  # in a result too, which is not to be written to
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
        """Add rows, float16 [any number, pixels], and the standard error of each where they are estimates."""
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
        """Note in the journal that the file is whole, with what its readers should know."""
        with _OutputErrors(self.path):
            if self._journal is not None:
                self._journal.end(remarks)

    def _sync(self) -> None:
        """The rows first, then the lines that vouch for them."""
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


def _header(shape: tuple[int, int]) -> bytes:
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return made.getvalue()
