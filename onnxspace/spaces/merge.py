"""Models of one space in another, and the fingerprints of a space as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxspace.errors import DamagedFileError, OnnxspaceError, SpaceError
from onnxspace.inputs.execution import Progress
from onnxspace.inputs.labels import Labels
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.similarity.records import Failure
from onnxspace.spaces.add_fingerprints import AdditionReport
from onnxspace.spaces.complete import Offer, complete_models
from onnxspace.spaces.damage import ReportDamage, failure_of, without_damaged
from onnxspace.spaces.insert import NO_STEM, NO_SUM, Parts, Rows, add_labels, insert_model, insert_sheet
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
        protocol.sketch_version, read_reduced(folder, entry, protocol), replace(entry.labels, producer=entry.producer),
        entry.pixels,
    )  # fmt: skip


def export_fingerprints(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], to: Path, progress: Progress | None = None,
    report: ReportDamage | None = None, *, labels: bool = True,
) -> list[Path]:  # fmt: skip
    """Write the fingerprints of `entries` to `.fp` files in the folder `to`, named after the models; returns the files.

    Without `labels` the files have neither licence nor source nor tags. Models whose files are damaged are left out and given to `report`; without it, they raise SpaceError. Raises OutputError where
    a file can't be written.
    """
    with convert_write_errors(to):
        to.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for number, entry in enumerate(entries):
        if progress is not None:
            progress(entry.name, number, len(entries))
        try:
            one = fingerprint_of(folder, protocol, entry)
        except DamagedFileError as error:
            if report is None:
                raise
            report(failure_of(entry, error))
        else:
            files.append(_choose_file(to, entry, files))
            write_fingerprint(files[-1], one if labels else replace(one, labels=Labels()))
    return files


def _choose_file(folder: Path, entry: CatalogueEntry, files: Sequence[Path]) -> Path:
    """A file of the model's name, in plain characters; of two models with equal ones the second has digits of its content."""
    plain = _PLAIN.sub("_", entry.name).strip(".")[:100] or "model"
    file = folder / f"{plain}.fp"
    return folder / f"{plain}-{entry.identity[:12]}.fp" if file in set(files) else file


@dataclass(frozen=True)
class MergeSource:
    """A space whose models another one takes over: its folder and protocol, and the models."""

    folder: Path
    protocol: Protocol
    entries: Sequence[CatalogueEntry]


def merge_space(
    folder: Path, protocol: Protocol, source: MergeSource, report: AdditionReport, progress: Progress | None = None
) -> None:
    """Enter models of another space into the space `folder`, with their maps where both keep maps.

    Models whose files are damaged are recorded as failed. Raises SpaceError where the spaces have other images, methods or details,
    and OutputError.
    """
    _check_alike(folder, protocol, source.folder, source.protocol)
    entries = source.entries
    whole = [entry for entry in entries if entry.maps is not None and protocol.keep_maps]
    rest = [entry for entry in entries if entry.maps is None or not protocol.keep_maps]
    for number, entry in enumerate(whole):
        if progress is not None:
            progress(entry.name, number, len(entries))
        try:
            _merge_whole(folder, protocol, source, entry, report)
        except DamagedFileError as error:
            _record_damage(report, failure_of(entry, error), error)
    step = _AT_ONCE if protocol.detail == "maps" else _FEW
    for first in range(0, len(rest), step):
        some = rest[first : first + step]
        if progress is not None:
            progress(some[0].name, len(whole) + first, len(entries))
        _merge_prints(folder, protocol, source, some, report)


def _record_damage(report: AdditionReport, failure: Failure, error: OnnxspaceError) -> None:
    report.record_failure(Path(failure.path), error, failure.error)


def _check_alike(folder: Path, protocol: Protocol, other: Path, theirs: Protocol) -> None:
    difference = protocol.difference(theirs)
    sketches = [(p.numbers, p.sketch, p.sketch_version, p.detail) for p in (protocol, theirs)]
    if difference is None and sketches[0] != sketches[1]:
        difference = f"with sketches of {theirs.numbers} numbers and the detail {theirs.detail}"
    if difference is not None:
        raise SpaceError(f"The models of {other} were explained {difference.split(', so')[0]}, so {folder} can't take them.")


def _draft_of(entry: CatalogueEntry) -> CatalogueEntry:
    return replace(entry, stem=NO_STEM, prints=NO_SUM, maps=None, reduced=None)


def _merge_whole(
    folder: Path, protocol: Protocol, source: MergeSource, entry: CatalogueEntry, report: AdditionReport
) -> None:  # fmt: skip
    found, new = _insert_whole(folder, source, entry)
    report.labelled += add_labels(folder, [] if new else [(found, entry.labels)])
    offers = [] if new else [_offer(source, found, entry)]
    report.record_all([Path(entry.path)], [(found, new)], complete_models(folder, protocol, offers))


def _insert_whole(folder: Path, source: MergeSource, entry: CatalogueEntry) -> tuple[CatalogueEntry, bool]:
    other = source.folder
    with open_workbench(folder) as bench:
        write_file(bench / "maps.npy", np.memmap(check_maps(other, entry, source.protocol), np.uint8, "r").data)
        if checksum_of(bench / "maps.npy") != entry.maps:
            words = f"{other}: the maps of {entry.name} are damaged. Run `onnxspace space verify {other}`."
            raise DamagedFileError(words, entry.stem)
        write_array(bench / "prints.npy", read_prints(other, [entry.stem], source.protocol)[0])
        reduced = None if entry.reduced is None else bench / "reduced.bin"
        if reduced is not None:
            write_file(reduced, read_part(other, entry))
        return insert_model(folder, _draft_of(entry), bench / "prints.npy", bench / "maps.npy", reduced)


def _offer(source: MergeSource, found: CatalogueEntry, entry: CatalogueEntry) -> Offer:
    """What the other space keeps of a model that is in both."""
    prints = read_prints(source.folder, [entry.stem], source.protocol)[0]
    return Offer(found, prints, read_reduced(source.folder, entry, source.protocol))


def _merge_prints(
    folder: Path, protocol: Protocol, source: MergeSource, entries: Sequence[CatalogueEntry], report: AdditionReport
) -> None:  # fmt: skip
    def read(some: Sequence[CatalogueEntry]) -> tuple[Sequence[CatalogueEntry], Rows, Parts]:
        rows = list(read_prints(source.folder, [entry.stem for entry in some], source.protocol))
        held = (read_reduced(source.folder, entry, source.protocol) for entry in some)
        return some, rows, [None if one is None else pack(one) for one in held]

    def note(failure: Failure) -> None:
        _record_damage(report, failure, SpaceError(failure.error))

    some, rows, parts = without_damaged(source.folder, source.protocol, entries, read, note)
    entered = insert_sheet(folder, [_draft_of(entry) for entry in some], rows, parts)
    pairs = list(zip(some, entered, strict=True))
    report.labelled += add_labels(folder, [(found, entry.labels) for entry, (found, new) in pairs if not new])
    offers = [_offer(source, found, entry) for entry, (found, new) in pairs if not new]
    report.record_all([Path(entry.path) for entry in some], entered, complete_models(folder, protocol, offers))
