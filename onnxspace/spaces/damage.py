"""Models whose files are missing, truncated or damaged: named and left out, so that all others are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from onnxspace.errors import DamagedFileError
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.records import Failure
from onnxspace.spaces.layout import check_maps, read_prints, read_reduced
from onnxspace.spaces.schema import CatalogueEntry, file_stem

_Result = TypeVar("_Result")
#: Is called with each model that is left out, and why.
ReportDamage = Callable[[Failure], None]


def without_damaged(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry],
    compute: Callable[[Sequence[CatalogueEntry]], _Result], report: ReportDamage | None, needed: str = "",
) -> _Result:  # fmt: skip
    """Return `compute(entries)`; where a file is damaged, that of the other models, each model left out being reported.

    Without `report`, and where the model of the stem `needed` or none of `entries` is the reason, DamagedFileError is raised. Nothing is read twice unless a
    file is damaged; all files are then opened once.
    """
    while True:
        try:
            return compute(entries)
        except DamagedFileError as error:
            damaged = {entry.stem: str(error) for entry in entries if _is_named(entry, error)}
            if report is None or not damaged or needed in damaged:
                raise
            damaged = find_unreadable(folder, protocol, entries) | damaged
        for entry in entries:
            if entry.stem in damaged:
                report(failure_of(entry, damaged[entry.stem]))
        entries = [entry for entry in entries if entry.stem not in damaged]


def failure_of(entry: CatalogueEntry, why: object) -> Failure:
    """Return the failure of a model that is left out because of the error `why`."""
    return Failure(entry.path or entry.name, f"{entry.name} is left out: {why}")


def find_unreadable(folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry]) -> dict[str, str]:
    """Return what is wrong with the files of `entries` by stem; checksums of maps and fingerprints are not compared."""
    found = {}
    for entry in entries:
        try:
            _open_files(folder, protocol, entry)
        except DamagedFileError as error:
            found[entry.stem] = str(error)
    return found


def _open_files(folder: Path, protocol: Protocol, entry: CatalogueEntry) -> None:
    read_prints(folder, [entry.stem], protocol)
    read_reduced(folder, entry, protocol)
    if entry.maps is not None:
        check_maps(folder, entry, protocol)


def _is_named(entry: CatalogueEntry, error: DamagedFileError) -> bool:
    return entry.stem in error.stems or file_stem(entry.stem) in error.stems
