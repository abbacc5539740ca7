"""External data of untrusted ONNX files: confined to the model's folder, bounded, and read once.

Each file is opened component by component without following links, and judged by its open handle. A range of bytes that several
tensors declare is read, hashed and counted once.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from onnxspace.errors import ModelError

MAX_DATA_BYTES = 64 * 2**30  # the largest image encoders have about 24 GB
_COPY = "Copy the model's external data again."
_WALK = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
#: Device and inode of a file.
Identity = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """The bytes of a tensor: the file `source` below `root`, which is a real path, from `offset` on."""

    tensor: str
    root: Path
    source: Path
    identity: Identity
    offset: int
    length: int


@dataclass
class ExternalData:
    """The external data of the model file `path`; `note` is called with each range of bytes that is read."""

    path: Path
    note: Callable[[bytearray], None]
    _ranges: dict[Identity, list[tuple[int, int]]] = field(default_factory=dict)
    _read: dict[tuple[Identity, int], bytearray] = field(default_factory=dict)
    _opened: tuple[Identity, BufferedReader] | None = None

    def plan(self, spans: Iterable[Span]) -> None:
        """Merge the ranges of all tensors that overlap. Raises ModelError where they are too many bytes."""
        by_file: dict[Identity, set[tuple[int, int]]] = {}
        for span in spans:
            by_file.setdefault(span.identity, set()).add((span.offset, span.offset + span.length))
        self._ranges = {identity: _merge(sorted(ranges)) for identity, ranges in by_file.items()}
        if sum(end - first for ranges in self._ranges.values() for first, end in ranges) > MAX_DATA_BYTES:
            raise ModelError(f"{self.path} has more than {MAX_DATA_BYTES // 2**30} GiB of external data. Leave it out.")

    def locate(self, tensor: onnx.TensorProto, offset: int, length: int) -> Span:
        """Find the file of a tensor's data, which must lie in the model's folder. Raises ModelError."""
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        root, source = _resolve_location(self.path, tensor.name, location)
        try:
            status = source.stat(follow_symlinks=False)
        except OSError as error:
            raise self._unreadable(tensor.name, source, error) from error
        return Span(tensor.name, root, source, (status.st_dev, status.st_ino), offset, length)

    def read(self, span: Span) -> memoryview:
        """Read the bytes of a tensor; tensors that overlap share them. Raises ModelError."""
        first, end = self._find_range(span)
        key = span.identity, first
        if key not in self._read:
            self._read[key] = self._read_range(span, first, end)
            self.note(self._read[key])
        return memoryview(self._read[key])[span.offset - first : span.offset - first + span.length]

    def _find_range(self, span: Span) -> tuple[int, int]:
        ranges = self._ranges[span.identity]
        return ranges[bisect_right(ranges, (span.offset, span.offset + span.length)) - 1]

    def _read_range(self, span: Span, first: int, end: int) -> bytearray:
        try:
            file = self._open(span)
            self._check_length(span, first, end, os.fstat(file.fileno()).st_size)
            content = bytearray(end - first)
            file.seek(first)
            if file.readinto(content) < end - first:
                raise OSError("it was truncated while it was read")
        except MemoryError as error:
            raise ModelError(f"{self.path}: its weights do not fit in memory. Leave it out.") from error
        except OSError as error:
            raise self._unreadable(span.tensor, span.source, error) from error
        return content

    def _open(self, span: Span) -> BufferedReader:
        """The open file of a span; the last one is kept open."""
        if self._opened is None or self._opened[0] != span.identity:
            self.close()
            number = open_below(span.root, span.source)
            try:
                self._check_handle(span, os.fstat(number))
                self._opened = span.identity, os.fdopen(number, "rb")
            except BaseException:
                os.close(number)
                raise
        return self._opened[1]

    def _check_handle(self, span: Span, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(
                f"{self.path}: external data {span.source.name!r} of tensor {span.tensor!r} is not a regular file. {_COPY}"
            )
        if (status.st_dev, status.st_ino) != span.identity:
            raise OSError("it was exchanged while it was read")
        if status.st_nlink > 1 and not span.source.is_relative_to(Path(os.path.realpath(self.path)).parent):
            raise ModelError(
                f"{self.path}: external data {span.source.name!r} of tensor {span.tensor!r} is a hard link outside the folder of "
                "the model's file, which is not followed. Copy it beside the model."
            )

    def _check_length(self, span: Span, first: int, end: int, size: int) -> None:
        if end > size:
            raise ModelError(
                f"{self.path}: tensor {span.tensor!r} needs bytes {span.offset} to {span.offset + span.length} of "
                f"{span.source.name}, which has only {size}. {_COPY}"
            )

    def _unreadable(self, tensor: str, source: Path, error: OSError) -> ModelError:
        return ModelError(
            f"{self.path}: external data {source.name!r} of tensor {tensor!r} can't be read ({error.strerror or error}). "
            "Keep it in the model's folder."
        )

    def close(self) -> None:
        """Close the file that is open."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge sorted ranges that overlap; ranges that only touch stay apart, so that each can be freed."""
    merged: list[tuple[int, int]] = []
    for first, end in ranges:
        if merged and first < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((first, end))
    return merged


def _resolve_location(path: Path, name: str, location: str) -> tuple[Path, Path]:
    """The real folder that confines a tensor's data, and the real path of its file. Raises ModelError."""
    if not location or "\0" in location:
        raise ModelError(f"{path}: tensor {name!r} names no file for its external data. Export the model again.")
    windows = PureWindowsPath(location)
    folder, home = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent
    target = folder / location
    if folder != home and not os.path.lexists(target):  # beside the file that a link leads to
        target = home / location
    real = Path(os.path.realpath(target))
    outside = ".." in windows.parts or windows.anchor or PurePosixPath(location).is_absolute()
    if not outside and real == target:
        return (folder if target.is_relative_to(folder) else home), real
    if (
        not outside and folder != home and real.is_relative_to(home)
    ):  # as in a cache where model and data are links to one folder
        return home, real
    raise ModelError(
        f"{path}: tensor {name!r} keeps its data outside the model's folder ({location!r}: absolute, '..' or a link), "
        "which is not followed. Save the model with its data beside it."
    )


def open_below(root: Path, source: Path) -> int:
    """Open the file `source` below the folder `root` for reading, without following a link below `root`; returns its descriptor. Raises OSError."""
    if not _WALK:
        return os.open(source, _FLAGS)
    *folders, last = source.relative_to(root).parts
    place = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        return os.open(last, _FLAGS, dir_fd=place)
    finally:
        os.close(place)
