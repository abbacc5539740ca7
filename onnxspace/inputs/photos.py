"""Labelled photos: a folder per class, or a CSV of paths and labels."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.inputs.probes import DEFAULT_SIZE, MAX_IMAGES, drawn, image_files, read_square

Kind = Literal["classes", "multilabel", "regression"]
KINDS: tuple[Kind, ...] = ("classes", "multilabel", "regression")
_MOST_BYTES = 2**28
_ADVICE = "Its first line names the columns: the path of an image, then its label or labels."


@dataclass(frozen=True, eq=False)
class Photos:
    """Paths and labels, in one order. `labels` is [images], or [images, targets] where there are several columns.

    A label that is missing is None (words) or NaN (numbers). `kind` says what the labels are.
    """

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[Any]
    kind: Kind

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def open(
        cls, source: str | Path, kind: Kind | None = None, images: int | None = None, seed: int = 0
    ) -> Photos:  # fmt: skip
        """`source/CLASS/*.jpg`, or a CSV with a header and the columns path, label, … (paths from its own folder on).

        `kind` is told from the labels where it is None: words and whole numbers are classes, several columns of 0 and 1
        multilabel, other numbers regression. At most `images` of them are taken, drawn by `seed`. Raises ProbeError for
        what is neither, with a sentence that says how it should be.
        """
        place = Path(source)
        found = _of_folder(place) if place.is_dir() else _of_table(place, kind)
        if found.kind != (kind or found.kind):
            raise ProbeError(f"{source}: folders of photos are classes; give a CSV for {kind}.")
        rows = drawn(range(len(found)), len(found) if images is None else images, seed)
        if len(rows) > MAX_IMAGES:
            raise ProbeError(f"{source} has {len(rows)} images, more than {MAX_IMAGES}. Take some of them with --images.")
        return cls(found.name, tuple(found.paths[i] for i in rows), found.labels[rows], found.kind)

    def fingerprint(self, size: int) -> str:
        """16 hex digits for the files, by name, size and time, in this order and at this size."""
        stats = [(str(path), found.st_size, found.st_mtime_ns) for path in self.paths for found in [_stat(path)]]
        return hashlib.sha256(repr((size, stats)).encode()).hexdigest()[:16]

    def describe(self, sha256: str) -> dict[str, Any]:
        """What the labelled images are, ready for JSON; `sha256` is that of their pixels."""
        there = [label for label in self.labels.ravel().tolist() if not (label is None or label != label)]
        classes = {"classes": len(set(there))} if self.kind == "classes" else {"targets": int(self.labels.size / len(self))}
        missing = len(self) - int(_labelled(self.labels).sum())
        return {"name": self.name, "images": len(self), "kind": self.kind, **classes, "missing": missing, "sha256": sha256}

    def decode(self, file: Path, size: int = DEFAULT_SIZE, progress: Callable[[int], None] | None = None) -> NDArray[np.uint8]:
        """Every photo cut and resized as probe photos are: uint8 [images, size, size, 3], memory-mapped from `file`.

        `progress` gets numbers of images. Raises ProbeError for a photo that can't be read, OutputError.
        """
        from onnxspace.storage.atomic import whole_array

        with whole_array(file, (len(self), size, size, 3), np.uint8) as append:
            for path in self.paths:
                append(read_square(path, size)[None])
                if progress is not None:
                    progress(1)
        decoded: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
        return decoded


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ProbeError(f"{path} can't be read ({error.strerror}). Check its name in the table.") from error


def _labelled(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which images have all their labels."""
    there = np.array([not (label is None or label != label) for label in labels.ravel()]).reshape(len(labels), -1)
    return np.asarray(there.all(axis=1))


def _of_folder(folder: Path) -> Photos:
    files = image_files(folder, "folder")
    classes = [path.relative_to(folder).parts[0] for path in files]
    loose = [path for path in files if path.parent == folder]
    if loose:
        raise ProbeError(
            f"{loose[0]} lies in no class's folder. Labelled photos lie in {folder}/CLASS/, or are named in a CSV."
        )
    return Photos(
        _text(folder.resolve().name) or "photos", tuple(files), np.array([_text(c) for c in classes], object), "classes"
    )


def _of_table(file: Path, kind: Kind | None) -> Photos:
    rows = list(_rows(file))
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ProbeError(f"{file} is no table of labelled photos. {_ADVICE}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ProbeError(f"{file}: row {number} has {len(row)} cells, the first has {len(rows[0])}. {_ADVICE}")
    cells = [[cell.strip() for cell in row[1:]] for row in rows[1:]]
    labels, settled = _settled(file, cells, kind)
    return Photos(_text(file.stem), tuple(file.parent / row[0].strip() for row in rows[1:]), labels, settled)


def _rows(file: Path) -> Iterator[list[str]]:
    if not file.exists():
        raise ProbeError(f"{file} does not exist. Give a folder of a folder per class, or a CSV of paths and labels.")
    if not file.is_file() or file.stat().st_size > _MOST_BYTES:
        raise ProbeError(f"{file} is no CSV of paths and labels. {_ADVICE}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            yield from (row for row in csv.reader(text, strict=True) if row)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ProbeError(f"{file} can't be read as CSV in UTF-8 ({error}). {_ADVICE}") from error


def _settled(file: Path, cells: Sequence[Sequence[str]], kind: Kind | None) -> tuple[NDArray[Any], Kind]:
    numbers = _numbers(cells)
    settled = kind or _kind_of(numbers, len(cells[0]))
    if settled == "classes":
        if len(cells[0]) > 1:
            raise ProbeError(f"{file} has {len(cells[0])} columns of labels that are words; classes take one. {_ADVICE}")
        return np.array([row[0] or None for row in cells], object), settled
    if numbers is None:
        raise ProbeError(f"{file} has labels that are no numbers, which {settled} asks for. Leave missing ones empty.")
    return (numbers[:, 0] if settled == "regression" and numbers.shape[1] == 1 else numbers), settled


def _numbers(cells: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
    """The cells as numbers, empty ones NaN; None where one is a word."""
    try:
        return np.array([[float(cell) if cell else math.nan for cell in row] for row in cells])
    except ValueError:
        return None


def _kind_of(numbers: NDArray[np.float64] | None, columns: int) -> Kind:
    if numbers is None:
        return "classes"
    there = numbers[~np.isnan(numbers)]
    if columns > 1:
        return "multilabel" if np.isin(there, (0, 1)).all() else "regression"
    return "classes" if (there == np.floor(there)).all() else "regression"


def _text(name: str) -> str:
    """A name's bytes that are no text become escapes, so that it can be printed."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
