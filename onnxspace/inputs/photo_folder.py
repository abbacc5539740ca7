"""The photos of a folder: which files are images, which of them count once, and which are sampled and read."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.inputs.content import hash_images
from onnxspace.inputs.image_depth import choose_top
from onnxspace.inputs.image_files import SUFFIXES, ImageHeader, read_header, read_square
from onnxspace.inputs.nearest_names import describe_missing_folder
from onnxspace.storage.regular_files import NotRegularError, open_regular

DEFAULT_SIZE, SMALLEST = 224, 16
#: Broken photos that an error names; more are counted.
_MOST_NAMED = 20
_SKIPPING = "; --skip-broken goes on without"
_BLOCK = 2**20
Read = TypeVar("Read")


@dataclass(frozen=True)
class PhotoFolder:
    """The image `files` of a folder and its subfolders, sorted by name, and in `remarks` what was left out, a line for each kind."""

    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PhotoSample:
    """Photos of a folder as uint8 [images, size, size, 3], RGB, and in `remarks` what was left out."""

    images: NDArray[np.uint8]
    remarks: tuple[str, ...] = ()


def list_photos(folder: Path, what: str = "probe folder") -> PhotoFolder:
    """List the image files of a folder and its subfolders, without hidden ones.

    `what` is the folder's role in messages. Raises ProbeError for a folder without images.
    """
    if not folder.is_dir():
        why = "is a file, not a folder." if folder.exists() else describe_missing_folder(folder)
        raise ProbeError(f"The {what} {folder} {why} Give a folder of photos.")
    skipped: Counter[str] = Counter()
    found = sorted(_walk(folder, skipped), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise ProbeError(f"The {what} {folder} holds no images ({kinds}). Give a folder of photos.")
    return PhotoFolder(tuple(found), _describe_skipped(folder, skipped))


def _walk(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """The image files of a folder; others are counted by suffix, hidden files and folders as `hidden`."""
    for place, folders, files in os.walk(folder, onerror=_refuse_folder):
        skipped["hidden"] += sum(name.startswith(".") for name in (*folders, *files))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                yield path
            else:
                skipped[path.suffix.lower() or "no suffix"] += 1


def _refuse_folder(error: OSError) -> None:
    raise ProbeError(f"The probe folder {error.filename} can't be read ({error.strerror}). Check its permissions.") from error


def _describe_skipped(folder: Path, skipped: Counter[str]) -> tuple[str, ...]:
    counts = {kind: number for kind, number in skipped.most_common() if number}
    if not counts:
        return ()
    named = ", ".join(f"{number} {kind}" for kind, number in list(counts.items())[:6])
    total, more = sum(counts.values()), ", …" if len(counts) > 6 else ""
    files = "1 file that is not an image was" if total == 1 else f"{total} files that are not images were"
    return (f"{folder}: {files} left out ({named}{more}).",)


def drop_copies(folder: Path, files: Sequence[Path], group: Callable[[Path], str] = lambda path: "") -> PhotoFolder:
    """Keep the first of files with equal bytes, and of the same `group` where they have one."""
    kept = list(_iterate_distinct(files, group))
    copies = len(files) - len(kept)
    remark = f"{folder}: {_count(copies, 'copy', 'copies')} of other photos of it {'counts' if copies == 1 else 'count'} once."
    return PhotoFolder(tuple(kept), (remark,) if copies else ())


def _iterate_distinct(files: Sequence[Path], group: Callable[[Path], str]) -> Iterator[Path]:
    sizes = Counter(_read_size(path) for path in files)
    seen: set[tuple[str, bytes]] = set()
    for path in files:
        size = _read_size(path)
        if sizes[size] > 1 and size >= 0:
            content = (group(path), _hash_file(path))
            if content in seen:
                continue
            seen.add(content)
        yield path


def _read_size(path: Path) -> int:
    """Bytes of a regular file, −1 for anything else: it is refused where it is read."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1


def _hash_file(path: Path) -> bytes:
    """SHA-256 of a file's bytes; of its name where it can't be read, which is said where it is read as an image."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except (OSError, NotRegularError):
        return str(path).encode("utf-8", "surrogateescape")
    return digest.digest()


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def draw_order(count: int, seed: int) -> list[int]:
    """The numbers below `count` in the order in which a sample takes them by `seed`."""
    return sorted(range(count), key=lambda index: hashlib.sha256(f"{seed}/{index}".encode()).digest())


def draw_sample(rows: range, count: int, seed: int) -> list[int]:
    """Sample at most `count` of the numbers `rows` by `seed`, without replacement; returns them in their order."""
    if len(rows) <= count:
        return list(rows)
    return sorted(rows[i] for i in draw_order(len(rows), seed)[:count])


def find_size(sides: Iterable[int]) -> int:
    """Return the size in pixels at which images lose nothing that a network of up to 224 pixels sees: from 16 to 224.

    It is the longest of `sides`, the shorter sides of the images.
    """
    return min(DEFAULT_SIZE, max([SMALLEST, *sides]))


def find_top(headers: Iterable[ImageHeader]) -> int | None:
    """The value that becomes white in all 16-bit images of a set: 4095 where none exceeds it, as 12-bit cameras write, else 65535.

    None where none has more than 8 bits.
    """
    largest = max((header.largest for header in headers if header.largest is not None), default=None)
    return None if largest is None else choose_top(largest)


def read_sample(folder: Path, count: int, size: int | None, seed: int, *, skip_broken: bool = False) -> PhotoSample:
    """Read at most `count` photos of a folder, sampled by `seed`, at `size` pixels (None: as `find_size` finds).

    Photos with equal bytes or equal pixels count once. With `skip_broken`, others take the places of those that can't be read.
    Raises ProbeError naming all that can't be read.
    """
    listed = list_photos(folder)
    distinct = drop_copies(folder, listed.files)
    order = draw_order(len(distinct.files), seed)
    broken: dict[int, ProbeError] = {}
    copies: set[int] = set()
    while True:
        chosen = sorted([i for i in order if i not in broken and i not in copies][:count])
        images, failures = _read_all([distinct.files[i] for i in chosen], size)
        broken |= {chosen[k]: error for k, error in failures.items()}
        if failures and not (skip_broken and len(broken) < len(order)):
            raise refuse_broken(list(failures.values()), len(chosen))
        again = [] if failures else _find_copies(images)
        copies |= {chosen[k] for k in again}
        if not failures and not again:
            break
    remarks = (*listed.remarks, *distinct.remarks, *_describe_copies(folder, copies), *describe_broken(list(broken.values())))
    return PhotoSample(images, remarks)


def _read_all(files: Sequence[Path], size: int | None) -> tuple[NDArray[np.uint8], dict[int, ProbeError]]:
    """Images, and the errors of those that can't be read, by position."""
    headers, failures = read_each(files, read_header)
    side, top = size or find_size(header.side for header in headers.values()), find_top(headers.values())
    images = np.zeros((len(files), side, side, 3), np.uint8)
    for k in headers:
        try:
            images[k] = read_square(files[k], side, top)
        except ProbeError as error:
            failures[k] = error
    return images, dict(sorted(failures.items()))


def read_each(files: Sequence[Path], read: Callable[[Path], Read]) -> tuple[dict[int, Read], dict[int, ProbeError]]:
    """What `read` returns for each file, and the errors of those that can't be read, by position."""
    found: dict[int, Read] = {}
    failures: dict[int, ProbeError] = {}
    for k, path in enumerate(files):
        try:
            found[k] = read(path)
        except ProbeError as error:
            failures[k] = error
    return found, failures


def _find_copies(images: NDArray[np.uint8]) -> list[int]:
    """Positions of images with the pixels of an earlier one."""
    first: dict[bytes, int] = {}
    return [k for k, digest in enumerate(hash_images(images)) if first.setdefault(digest, k) != k]


def _describe_copies(folder: Path, copies: set[int]) -> tuple[str, ...]:
    named = _count(len(copies), "photo", "photos")
    return (
        (f"{folder}: {named} with the pixels of another one {'counts' if len(copies) == 1 else 'count'} once.",)
        if copies
        else ()
    )


def refuse_broken(errors: Sequence[ProbeError], number: int) -> ProbeError:
    """The error for photos that can't be read, of `number` that were to be: it names all of them."""
    if len(errors) == 1:
        return ProbeError(f"{_shorten(errors[0])}. Remove it, or save it again{_SKIPPING}.")
    named = "; ".join(_shorten(error) for error in errors[:_MOST_NAMED])
    more = f"; and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return ProbeError(
        f"{len(errors)} of {number} photos can't be used: {named}{more}. Remove them, or save them again{_SKIPPING}."
    )


def drop_skipping(error: ProbeError) -> ProbeError:
    """The same error for commands that leave no photo out: it names no option that does."""
    return ProbeError(str(error).replace(_SKIPPING, ""))


def describe_broken(errors: Sequence[ProbeError]) -> tuple[str, ...]:
    """A line that counts and names the photos that were left out because they can't be read; none where all could."""
    if not errors:
        return ()
    named = "; ".join(_shorten(error) for error in errors[:_MOST_NAMED])
    more = f"; and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return (f"{_count(len(errors), 'photo', 'photos')} that can't be used left out: {named}{more}.",)


def _shorten(error: ProbeError) -> str:
    """The error without its advice."""
    return str(error).rsplit(". ", 1)[0]
