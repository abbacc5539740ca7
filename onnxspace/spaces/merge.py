"""Models of one space in another, and the fingerprints of a space as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxspace.errors import SpaceError
from onnxspace.inputs.execution import Progress
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.spaces.add_fingerprints import AdditionReport
from onnxspace.spaces.insert import NO_STEM, NO_SUM, insert_model, insert_sheet
from onnxspace.spaces.layout import check_maps, checksum_of, read_part, read_prints, read_reduced
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import convert_write_errors, write_array, write_file

#: Fingerprints that are entered together, without features and outputs and with them.
_AT_ONCE, _FEW = 1024, 64
_PLAIN = re.compile(r"[^A-Za-z0-9._+-]+")


def fingerprint_of(folder: Path, protocol: Protocol, entry: CatalogueEntry) -> Fingerprint:
    """Return the fingerprint of a model of the space `folder`. Raises SpaceError for a damaged file."""
    return Fingerprint(
        entry.name, entry.sha256, entry.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256,
        read_prints(folder, [entry.stem], protocol)[0].astype(np.float16), protocol.sketch, protocol.fingerprint_options(),
        protocol.sketch_version, read_reduced(folder, entry, protocol), entry.pixels,
    )  # fmt: skip


def export_fingerprints(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], to: Path, progress: Progress | None = None
) -> list[Path]:
    """Write the fingerprints of `entries` to `.fp` files in the folder `to`, named after the models; returns the files.

    Raises SpaceError for a damaged file, OutputError where a file can't be written.
    """
    with convert_write_errors(to):
        to.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for number, entry in enumerate(entries):
        if progress is not None:
            progress(entry.name, number, len(entries))
        files.append(_choose_file(to, entry, files))
        write_fingerprint(files[-1], fingerprint_of(folder, protocol, entry))
    return files


def _choose_file(folder: Path, entry: CatalogueEntry, files: Sequence[Path]) -> Path:
    """A file of the model's name, in plain characters; of two models with equal ones the second has digits of its content."""
    plain = _PLAIN.sub("_", entry.name).strip(".")[:100] or "model"
    file = folder / f"{plain}.fp"
    return folder / f"{plain}-{entry.identity[:12]}.fp" if file in set(files) else file


def merge_space(
    folder: Path, protocol: Protocol, other: Path, theirs: Protocol, entries: Sequence[CatalogueEntry], report: AdditionReport,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Enter the models `entries` of the space `other` into the space `folder`, with their maps where both keep maps.

    Raises SpaceError where the spaces have other images, methods or details, or a file is damaged, and OutputError.
    """
    _check_alike(folder, protocol, other, theirs)
    whole = [entry for entry in entries if entry.maps is not None and protocol.keep_maps]
    rest = [entry for entry in entries if entry not in whole]
    for number, entry in enumerate(whole):
        if progress is not None:
            progress(entry.name, number, len(entries))
        report.record_entered(Path(entry.path), *_insert_whole(folder, other, theirs, entry))
    step = _AT_ONCE if protocol.detail == "maps" else _FEW
    for first in range(0, len(rest), step):
        some = rest[first : first + step]
        if progress is not None:
            progress(some[0].name, len(whole) + first, len(entries))
        _insert_prints(folder, other, theirs, some, report)


def _check_alike(folder: Path, protocol: Protocol, other: Path, theirs: Protocol) -> None:
    difference = protocol.difference(theirs)
    sketches = [(p.numbers, p.sketch, p.sketch_version, p.detail) for p in (protocol, theirs)]
    if difference is None and sketches[0] != sketches[1]:
        difference = f"with sketches of {theirs.numbers} numbers and the detail {theirs.detail}"
    if difference is not None:
        raise SpaceError(f"The models of {other} were explained {difference.split(', so')[0]}, so {folder} can't take them.")


def _draft_of(entry: CatalogueEntry) -> CatalogueEntry:
    return replace(entry, stem=NO_STEM, prints=NO_SUM, maps=None, reduced=None)


def _insert_whole(folder: Path, other: Path, theirs: Protocol, entry: CatalogueEntry) -> tuple[CatalogueEntry, bool]:
    with open_workbench(folder) as bench:
        write_file(bench / "maps.npy", np.memmap(check_maps(other, entry, theirs), np.uint8, "r").data)
        if checksum_of(bench / "maps.npy") != entry.maps:
            raise SpaceError(f"{other}: the maps of {entry.name} are damaged. Run `onnxspace space verify {other}`.")
        write_array(bench / "prints.npy", read_prints(other, [entry.stem], theirs)[0])
        reduced = None if entry.reduced is None else bench / "reduced.bin"
        if reduced is not None:
            write_file(reduced, read_part(other, entry))
        return insert_model(folder, _draft_of(entry), bench / "prints.npy", bench / "maps.npy", reduced)


def _insert_prints(
    folder: Path, other: Path, theirs: Protocol, entries: Sequence[CatalogueEntry], report: AdditionReport
) -> None:  # fmt: skip
    rows = list(read_prints(other, [entry.stem for entry in entries], theirs))
    parts = [None if (one := read_reduced(other, entry, theirs)) is None else pack(one) for entry in entries]
    for entry, found in zip(entries, insert_sheet(folder, [_draft_of(e) for e in entries], rows, parts), strict=True):
        report.record_entered(Path(entry.path), *found)
