"""Labelled images, from a folder per class or a CSV of paths and labels."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.errors import ProbeError
from onnxspace.inputs.band_images import BandReader, has_bands, load_bands
from onnxspace.inputs.content import hash_images
from onnxspace.inputs.image_files import DEEP_SUFFIXES, crop_square, read_header, read_upright
from onnxspace.inputs.nearest_names import describe_missing_folder
from onnxspace.inputs.photo_folder import (
    describe_broken,
    draw_sample,
    drop_copies,
    find_top,
    list_photos,
    read_each,
    refuse_broken,
)
from onnxspace.inputs.probes import DEFAULT_SIZE, MAX_IMAGES
from onnxspace.storage.printable import escape_surrogates
from onnxspace.storage.regular_files import map_array, open_regular
from onnxspace.storage.short_text import count, join_lines, wrap_notes

Kind = Literal["classes", "multilabel", "regression"]
KINDS: tuple[Kind, ...] = ("classes", "multilabel", "regression")
_MOST_BYTES = 2**28
_DECODED = 2  # version of what is made of the files' bytes
_ADVICE = "Its first line must name the columns, separated by commas: the path of an image, then its label or labels."


@dataclass(frozen=True, eq=False)
class Photos:
    """Images with labels.

    `name` is the folder's or table's, `paths` are the image files, `labels` their labels in the same order: [images], or
    [images, targets] where there are several. A missing label is None (classes) or NaN (numbers). `kind` is the kind of labels:
    `classes`, `multilabel` or `regression`. `remarks` says in a line each which files were left out.
    """

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[Any]
    kind: Kind
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        found = self.describe("")
        what = (
            count(found["classes"], "class", "classes")
            if self.kind == "classes"
            else f"{self.kind}, {count(found['targets'], 'target')}"
        )
        lost = f", {found['missing']:,} without a label" if found["missing"] else ""
        return join_lines(f"Photos {self.name!r}: {count(len(self), 'image')}, {what}{lost}", wrap_notes(self.remarks))

    @classmethod
    def open(
        cls,
        source: str | Path,
        kind: Kind | None = None,
        images: int | None = None,
        seed: int = 0,
        *,
        skip_broken: bool = False,
    ) -> Photos:
        """Read labelled images from `source`: a folder, `source/CLASS/*.jpg`, or a CSV with a header and the columns path, label, ….

        Paths in a CSV are relative to its folder. Where `kind` is None it is inferred from the labels: words and whole numbers are
        `classes`, several columns of 0 and 1 `multilabel`, other numbers `regression`. Files of one class with equal bytes count once.
        At most `images` images (None: all) are sampled by `seed`. With `skip_broken` all of these are read once more, and those
        that can't be read are left out. Raises ProbeError for a source that can't be read so.

        >>> Photos.open("flowers").kind  # doctest: +SKIP
        'classes'
        """
        path = Path(source)
        found = _read_folder(path) if path.is_dir() else _read_table(path, kind)
        if found.kind != (kind or found.kind):
            raise ProbeError(f"{source}: folders of photos have classes as labels. Give a CSV for {kind}.")
        rows = draw_sample(range(len(found)), len(found) if images is None else images, seed)
        if len(rows) > MAX_IMAGES:
            raise ProbeError(f"{source} has {len(rows)} images, more than {MAX_IMAGES}. Use fewer with --images.")
        chosen = found._take(rows)
        return chosen._drop_broken() if skip_broken else chosen

    def _take(self, rows: Sequence[int], *remarks: str) -> Photos:
        return replace(
            self, paths=tuple(self.paths[i] for i in rows), labels=self.labels[list(rows)], remarks=(*self.remarks, *remarks)
        )

    def _drop_broken(self) -> Photos:
        """The photos that can be read. Raises ProbeError where none can."""
        readable, failures = read_each(self.paths, _check_image)
        if not readable:
            raise refuse_broken(list(failures.values()), len(self))
        return self._take(list(readable), *describe_broken(list(failures.values())))

    def fingerprint(self, size: int) -> str:
        """Return 16 hex digits that identify the files by name, size and modification time, in this order and at `size` pixels.

        >>> Photos.open("flowers").fingerprint(224)  # doctest: +SKIP
        '0c2f9b1d3e7a6454'
        """
        stats = [(str(path), found.st_size, found.st_mtime_ns) for path in self.paths for found in [_read_stat(path)]]
        return hashlib.sha256(repr((_DECODED, size, stats)).encode()).hexdigest()[:16]

    def describe(self, sha256: str) -> dict[str, Any]:
        """Return facts about the labelled images, ready for JSON; `sha256` is the digest of their pixels.

        >>> Photos.open("flowers").describe("")["classes"]  # doctest: +SKIP
        5
        """
        present = [label for label in self.labels.ravel().tolist() if not (label is None or label != label)]
        classes = {"classes": len(set(present))} if self.kind == "classes" else {"targets": int(self.labels.size / len(self))}
        missing = len(self) - int(_find_labelled(self.labels).sum())
        return {"name": self.name, "images": len(self), "kind": self.kind, **classes, "missing": missing, "sha256": sha256}

    def decode(
        self,
        file: Path,
        size: int = DEFAULT_SIZE,
        progress: Callable[[int], None] | None = None,
        hashes: Path | None = None,
    ) -> NDArray[np.uint8]:
        """Decode all images to the `.npy` file `file`, cropped and resized as probe images, and memory-map it.

        Each is resized once, from its own size to `size` pixels. Returns uint8 [images, size, size, bands], three bands for photos.
        `progress` is called with numbers of finished images. With `hashes`, the digests of the images at their own size are written to that `.npy` file,
        uint8 [images, 32]. Raises ProbeError naming all images that can't be read, OutputError.

        >>> Photos.open("flowers").decode(Path("flowers-32.npy"), 32).shape  # doctest: +SKIP
        (300, 32, 32, 3)
        """
        from onnxspace.storage.atomic import whole_array

        digests: list[bytes] = []
        reader = self._choose_reader()

        def read(path: Path) -> None:
            image = reader.read(path)
            append(reader.crop(image, size)[None])
            if hashes is not None:
                digests.extend(hash_images(image[None]))
            if progress is not None:
                progress(1)

        with whole_array(file, (len(self), size, size, reader.bands), np.uint8) as append:
            failures = read_each(self.paths, read)[1]
            if failures:
                raise refuse_broken(list(failures.values()), len(self))
        if hashes is not None:
            with whole_array(hashes, (len(self), len(digests[0])), np.uint8) as append:
                append(np.frombuffer(b"".join(digests), np.uint8))
        decoded: NDArray[np.uint8] = map_array(file)
        return decoded

    def _choose_reader(self) -> PhotoReader | BandReader:
        """The reader of these files: of bands where the first file has them; those that can't be read are refused where they are decoded."""
        if has_bands(self.paths[0]):
            return BandReader.of(self.paths)
        deep = [path for path in self.paths if path.suffix.lower() in DEEP_SUFFIXES]
        return PhotoReader(find_top(read_each(deep, read_header)[0].values()))


@dataclass(frozen=True)
class PhotoReader:
    """Reads photos, of which 16-bit ones are white at `top`."""

    top: int | None
    bands: int = 3

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Read one photo at its own size, uint8 [height, width, 3]. Raises ProbeError."""
        return np.asarray(read_upright(path, self.top))

    def crop(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Crop a photo to a square of `size` pixels."""
        return crop_square(Image.fromarray(image), size)


def _check_image(path: Path) -> None:
    load_bands(path) if has_bands(path) else read_upright(path)


def _read_stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ProbeError(f"{path} can't be read ({error.strerror}). Check its name in the table.") from error


def _find_labelled(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each image has all its labels: bool [images]."""
    present = np.array([not (label is None or label != label) for label in labels.ravel()]).reshape(len(labels), -1)
    return np.asarray(present.all(axis=1))


def _read_folder(folder: Path) -> Photos:
    listed = list_photos(folder, "folder")
    files = listed.files
    loose = [path for path in files if path.parent == folder]
    if loose:
        raise ProbeError(f"{loose[0]} is not in a class folder. Put labelled photos in {folder}/CLASS/, or list them in a CSV.")

    def find_class(path: Path) -> str:
        return path.relative_to(folder).parts[0]

    distinct = drop_copies(folder, files, find_class)
    named = [escape_surrogates(find_class(path)) for path in distinct.files]
    name = escape_surrogates(folder.resolve().name) or "photos"
    return Photos(name, distinct.files, np.array(named, object), "classes", (*listed.remarks, *distinct.remarks))


def _read_table(file: Path, kind: Kind | None) -> Photos:
    rows = list(_read_rows(file))
    if len(rows) == 1 and len(rows[0]) > 1:
        raise ProbeError(f"{file} lists no images below its first line. {_ADVICE}")
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ProbeError(f"{file} is not a table of labelled photos. {_ADVICE}")
    if Path(rows[0][0]).suffix and (file.parent / rows[0][0].strip()).is_file():
        raise ProbeError(f"{file}: its first line is of the image {rows[0][0].strip()}. {_ADVICE}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ProbeError(f"{file}: row {number} has {len(row)} cells, the first has {len(rows[0])}. {_ADVICE}")
    cells = [[cell.strip() for cell in row[1:]] for row in rows[1:]]
    labels, resolved = _parse_labels(file, cells, kind)
    return Photos(escape_surrogates(file.stem), tuple(file.parent / row[0].strip() for row in rows[1:]), labels, resolved)


def _read_rows(file: Path) -> Iterator[list[str]]:
    if not file.exists():
        raise ProbeError(
            f"{file} {describe_missing_folder(file)} Give a folder with a folder per class, or a CSV of paths and labels."
        )
    if not file.is_file() or file.stat().st_size > _MOST_BYTES:
        raise ProbeError(f"{file} is not a CSV of paths and labels. {_ADVICE}")
    try:
        with open_regular(file) as content, io.TextIOWrapper(content, "utf-8-sig", newline="") as text:
            yield from (row for row in csv.reader(text, strict=True) if row)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ProbeError(f"{file} can't be read as CSV in UTF-8 ({error}). {_ADVICE}") from error


def _parse_labels(file: Path, cells: Sequence[Sequence[str]], kind: Kind | None) -> tuple[NDArray[Any], Kind]:
    numbers = _parse_numbers(cells)
    resolved = kind or _infer_kind(numbers, len(cells[0]))
    if resolved == "classes":
        if len(cells[0]) > 1:
            raise ProbeError(f"{file} has {len(cells[0])} columns of class labels, but an image has one class. {_ADVICE}")
        return np.array([row[0] or None for row in cells], object), resolved
    if numbers is None:
        raise ProbeError(f"{file} has labels that are not numbers, which {resolved} requires. Leave missing ones empty.")
    return (numbers[:, 0] if resolved == "regression" and numbers.shape[1] == 1 else numbers), resolved


def _parse_numbers(cells: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
    """The cells as numbers, empty ones as NaN; None where one is not a number."""
    try:
        return np.array([[float(cell) if cell else math.nan for cell in row] for row in cells])
    except ValueError:
        return None


def _infer_kind(numbers: NDArray[np.float64] | None, columns: int) -> Kind:
    if numbers is None:
        return "classes"
    present = numbers[~np.isnan(numbers)]
    if columns > 1:
        return "multilabel" if np.isin(present, (0, 1)).all() else "regression"
    return "classes" if (present == np.floor(present)).all() else "regression"
