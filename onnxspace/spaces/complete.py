"""Models whose fingerprints are completed: features or outputs in little that a space lacks are taken from a fuller one.

What is there stays: maps, the model's name, and what it has already. Files move to a new stem in the steps of `insert`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import DamagedFileError
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.reduced import Reduced, pack
from onnxspace.spaces.catalogue import Catalogue, open_catalogue
from onnxspace.spaces.insert import free_stem, move_rows, place_files
from onnxspace.spaces.layout import checksum_of, maps_path, read_prints, read_reduced, remove_leftovers
from onnxspace.spaces.schema import CatalogueEntry, Checksum, Part
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import write_array, write_file
from onnxspace.storage.regular_files import open_regular

_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Offer:
    """A fingerprint of the model `entry` that is in the space already: float16 [images, numbers], and features and outputs."""

    entry: CatalogueEntry
    prints: NDArray[np.float16]
    reduced: Reduced | None


@dataclass(frozen=True, eq=False)
class _Completion:
    """A model, its prints, the bytes of its features and outputs (None: it has none), and the checksum of the prints."""

    entry: CatalogueEntry
    prints: NDArray[np.float16]
    part: bytes | None
    checksum: Checksum


def complete_models(folder: Path, protocol: Protocol, offers: Sequence[Offer]) -> set[str]:
    """Complete models of the space `folder` by fuller fingerprints; returns the names of those that were completed.

    A fingerprint is fuller where it has features or outputs that the model lacks, or where files of the model are damaged. Raises
    OutputError where the space can't be written.
    """
    with open_catalogue(folder) as book:
        now = {offer.entry.stem: book.find("stem", offer.entry.stem) for offer in offers}
    there = [replace(offer, entry=entry) for offer in offers if (entry := now[offer.entry.stem]) is not None]
    found = {offer.entry.stem: one for offer in there if (one := _complete(folder, protocol, offer)) is not None}
    if not found:
        return set()
    with open_catalogue(folder) as book:
        rows = [one for one in found.values() if one.entry.maps is None]
        names = {one.entry.name for one in rows if _move_rows(folder, book, rows)}
        for one in found.values():
            if one.entry.maps is not None and _move_whole(folder, book, one):
                names.add(one.entry.name)
        remove_leftovers(folder, book)
    return names


def lacks_something(folder: Path, protocol: Protocol, entry: CatalogueEntry) -> bool:
    """Return whether a model that was added as a fingerprint lacks features or outputs that the space keeps."""
    if protocol.detail == "maps" or entry.preprocess:
        return False
    held = _read_held(folder, protocol, entry)
    return held is None or not _has_features(held) or held.answers is None


def join_reduced(held: Reduced | None, given: Reduced | None) -> Reduced | None:
    """Return `held` with the features or outputs that only `given` has; None where it adds nothing, or is of other images."""
    if given is None or not given.arrays():
        return None
    if held is None:
        return given
    if held.detail != given.detail or not np.array_equal(held.order, given.order):
        return None
    joined = held
    if _has_features(given) and not _has_features(held):
        lost = {kind: why for kind, why in held.lost.items() if kind != "features"}
        joined = replace(
            joined, features=given.features, levels=given.levels, scales=given.scales, channels=given.channels,
            similarities=given.similarities, lost=lost,
        )  # fmt: skip
    if given.answers is not None and held.answers is None:
        lost = {kind: why for kind, why in joined.lost.items() if kind != "outputs"}
        joined = replace(joined, answers=given.answers, classes=given.classes, remarks=given.remarks, lost=lost)
    return None if joined is held else joined


def _has_features(one: Reduced) -> bool:
    return one.features is not None or one.levels is not None


def _complete(folder: Path, protocol: Protocol, offer: Offer) -> _Completion | None:
    """What the model has with what is offered; None where it lacks nothing of it."""
    entry, offered = offer.entry, None if protocol.detail == "maps" else offer.reduced
    held = _read_held(folder, protocol, entry)
    joined = join_reduced(held, offered)
    try:
        prints = read_prints(folder, [entry.stem], protocol)[0]
        if joined is None:
            return None
    except DamagedFileError:
        prints = np.ascontiguousarray(offer.prints, "<f2")
    part = None if (whole := joined or held) is None else pack(whole)
    same = np.array_equal(prints, offer.prints)
    return _Completion(entry, prints, part, _checksum(prints) if same else entry.prints)


def _read_held(folder: Path, protocol: Protocol, entry: CatalogueEntry) -> Reduced | None:
    """The model's features and outputs; None where it has none, or their file is damaged."""
    try:
        return read_reduced(folder, entry, protocol)
    except DamagedFileError:
        return None


def _checksum(prints: NDArray[np.float16]) -> Checksum:
    content = prints.tobytes()
    return Checksum(len(content), hashlib.sha256(content).hexdigest())


def _move_rows(folder: Path, book: Catalogue, rows: Sequence[_Completion]) -> bool:
    """Write models without maps into a new sheet; returns whether nobody changed them meanwhile."""
    if not rows:
        return False
    moved = [replace(one.entry, prints=one.checksum) for one in rows]
    prints, parts = np.stack([one.prints for one in rows]), [one.part for one in rows]
    return move_rows(folder, book, [one.entry for one in rows], moved, prints, parts)


def _move_whole(folder: Path, book: Catalogue, one: _Completion) -> bool:
    """Write the files of a model with maps under a new stem; returns whether nobody changed it meanwhile."""
    entry = one.entry
    with open_workbench(folder) as bench:
        _copy(maps_path(folder, entry.stem), maps := bench / "maps.npy")
        write_array(prints := bench / "prints.npy", one.prints)
        if one.part is not None:
            write_file(bench / "reduced.bin", one.part)
        reduced = None if one.part is None else bench / "reduced.bin"
        part = None if reduced is None else Part(0, *astuple(checksum_of(reduced)))
        moved = replace(entry, prints=checksum_of(prints), reduced=part)
        with book.transaction():
            book.note(new := free_stem(book, entry.identity))
        with book.transaction():
            if not book.is_noted(new) or book.uses(new) or book.find("stem", entry.stem) != entry:
                return False
            place_files(folder, new, prints, maps, reduced)
            book.move(entry, replace(moved, stem=new))
            book.note(entry.stem)
            book.forget(new)
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy the file of maps, which may be large."""
    with open_regular(source, follow=False) as file:
        write_file(target, *iter(lambda: file.read(_AT_ONCE), b""))
