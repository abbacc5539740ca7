"""Maintenance of a space: verifying its files, and removing models and unreferenced files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxspace.errors import SpaceError
from onnxspace.inputs.execution import Progress
from onnxspace.inputs.protocol import Protocol
from onnxspace.spaces import affinity_cache as cache
from onnxspace.spaces.catalogue import CATALOGUE, SETS, open_catalogue
from onnxspace.spaces.create import baseline_of, probes_of
from onnxspace.spaces.insert import find_changed_rows, rewrite_sheets, sheets_of
from onnxspace.spaces.layout import (
    BASELINE,
    CACHE,
    MAPS,
    PLACES,
    PRINTS,
    PROBES,
    REDUCED,
    STATISTICS,
    USE_ROWS,
    WORK,
    checksum_of,
    files_of,
    is_truncated,
    maps_path,
    prints_path,
    read_part,
    reduced_path,
    remove_leftovers,
)
from onnxspace.spaces.packs import FILES, find_damaged_row, prune_packs
from onnxspace.spaces.probe_sets import find_set, list_lost_sets, list_sets, read_set_protocol
from onnxspace.spaces.schema import CatalogueEntry, Checksum, is_stem
from onnxspace.spaces.workdirs import clear_abandoned, find_abandoned
from onnxspace.storage.atomic import remove_files, sync_folder  # fmt: skip
from onnxspace.storage.printable import make_printable
from onnxspace.storage.regular_files import NotRegularError
from onnxspace.storage.short_text import MOST_LINES, count, join_lines

_OWN = {
    CATALOGUE,
    CACHE,
    *(name for names in FILES for name in names),
    MAPS,
    PRINTS,
    REDUCED,
    PROBES,
    BASELINE,
    WORK,
    SETS,
    STATISTICS,
    *(f"{n}-journal" for n in (CATALOGUE, CACHE)),
}


@dataclass(frozen=True)
class Problem:
    """One problem of a space, described by `text`.

    `kind` is catalogue, missing, truncated, damaged or unreferenced; `file` is relative to the space; `model` may be empty.
    """

    kind: str
    file: str
    model: str
    text: str


@dataclass(frozen=True)
class Verification:
    """The result of `verify`. `leftovers` are files of interrupted work, which `compact` removes."""

    models: int
    problems: tuple[Problem, ...]
    leftovers: tuple[str, ...]

    def __repr__(self) -> str:
        left = f", {count(len(self.leftovers), 'leftover')}" if self.leftovers else ""
        problems = [make_printable(problem.text) for problem in self.problems]
        more = [f"and {len(problems) - MOST_LINES:,} more"] if len(problems) > MOST_LINES else []
        return join_lines(
            f"{count(self.models, 'model')}, {count(len(problems), 'problem')}{left}", problems[:MOST_LINES], more
        )

    @property
    def clean(self) -> bool:
        return not self.problems


def verify(folder: Path, progress: Progress | None = None) -> Verification:
    """Read every file of the space `folder`, and of its sets of probe images, and compare it with the catalogue.

    `models` of the result counts those of all sets. `progress` receives a model's name, the models done and their number. Raises SpaceError where the catalogue is unreadable.
    """
    found = _verify_set(folder, progress)
    for name in list_sets(folder)[1:]:
        found = _join(found, name, _verify_further_set(find_set(folder, name), progress))
    lost = (Problem("missing", f"{SETS}/{path.name}/{CATALOGUE}", "", _describe_lost(path)) for path in list_lost_sets(folder))
    return replace(found, problems=(*found.problems, *lost))


def _verify_further_set(folder: Path, progress: Progress | None) -> Verification:
    """The result for a set of probe images; one whose catalogue is unreadable has no models."""
    try:
        return _verify_set(folder, progress)
    except SpaceError as error:
        return Verification(0, (Problem("catalogue", CATALOGUE, "", str(error)),), ())


def _describe_lost(folder: Path) -> str:
    return f"{folder / CATALOGUE} is missing, so that {folder.name} is no set of the space. Restore it from a copy, or delete the folder."


def _join(found: Verification, name: str, other: Verification) -> Verification:
    """The result for a space, and that for its set `name`."""
    problems = (replace(one, file=f"{SETS}/{name}/{one.file}") for one in other.problems)
    leftovers = (f"{SETS}/{name}/{one}" for one in other.leftovers)
    return Verification(found.models + other.models, (*found.problems, *problems), (*found.leftovers, *leftovers))


def _verify_set(folder: Path, progress: Progress | None) -> Verification:
    listed = list(_list_files(folder))  # before reading the catalogue, which notes files before they are placed or removed
    with open_catalogue(folder) as book:
        protocol, entries, noted = book.protocol(), book.sound_entries(), book.leftovers()
        problems = [Problem("catalogue", CATALOGUE, "", text) for text in book.find_damage()]
    problems += _check_shared_files(folder, protocol)
    for number, entry in enumerate(entries):
        if progress is not None:
            progress(entry.name, number, len(entries))
        problems += _check_own_files(folder, entry)
    for stem, rows in sheets_of(entries).items():
        problems += _check_sheet(folder, protocol, stem, rows)
    kept = _drop_outdated(folder, problems, entries)
    used = {path for entry in entries for path in files_of(folder, entry)}
    known = {make(folder, stem) for stem in noted for make in PLACES}
    strange = [path for path in listed if path not in used | known and path.exists()]
    return Verification(
        len(entries),
        (
            *kept,
            *(
                Problem("unreferenced", _relative_name(folder, p), "", f"{p} belongs to no model of this space.")
                for p in strange
            ),
        ),
        tuple(_relative_name(folder, p) for p in (*sorted(known - used), *find_abandoned(folder)) if p.exists()),
    )


def _drop_outdated(folder: Path, problems: list[Problem], entries: Sequence[CatalogueEntry]) -> list[Problem]:
    """The problems, without those of models that have been removed or renamed in the meantime."""
    with open_catalogue(folder) as book:
        now = {entry.name: entry.stem for entry in book.sound_entries()} if any(p.model for p in problems) else {}
    before = {entry.name: entry.stem for entry in entries}
    return [problem for problem in problems if not problem.model or now.get(problem.model) == before[problem.model]]


def _list_files(folder: Path) -> Iterator[Path]:
    """All files except those with fixed names."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in _OWN:
            yield path
        elif path.name in (MAPS, PRINTS, REDUCED) and path.is_dir():
            yield from sorted(path.iterdir())


def _check_shared_files(folder: Path, protocol: Protocol) -> Iterator[Problem]:
    """Check the probe images and the baseline picture."""
    if protocol.stored:
        try:
            probes_of(folder, protocol, None)
        except ValueError as error:
            yield Problem("damaged" if (folder / PROBES).exists() else "missing", PROBES, "", str(error))
    if protocol.baseline is not None:
        try:
            baseline_of(folder, protocol)
        except ValueError as error:
            yield Problem("damaged" if (folder / BASELINE).exists() else "missing", BASELINE, "", str(error))
    if (row := find_damaged_row(folder)) is not None:
        words = (
            f"{folder / USE_ROWS} has changed at row {row}; `onnxspace space compact` removes it, and a search makes it anew."
        )
        yield Problem("damaged", USE_ROWS, "", words)


def _check_own_files(folder: Path, entry: CatalogueEntry) -> Iterator[Problem]:
    """Check the files that belong to one model alone."""
    files = {} if entry.maps is None else {maps_path(folder, entry.stem): entry.maps}
    if is_stem(entry.stem):
        files[prints_path(folder, entry.stem)] = entry.prints
    for path, expected in files.items():
        if (problem := _check_file(folder, path, expected, entry.name)) is not None:
            yield problem
    if entry.reduced is not None and (problem := _check_part(folder, entry)) is not None:
        yield problem


def _check_part(folder: Path, entry: CatalogueEntry) -> Problem | None:
    """Check a model's features and outputs in little, which may be a part of a file that it shares."""
    path, part = reduced_path(folder, entry.stem), entry.reduced
    try:
        read_part(folder, entry)
    except SpaceError as error:
        if not _is_file(path):
            return _describe(folder, path, entry.name, "missing", "is missing")
        if part is not None and (size := path.stat().st_size) < part.start + part.length:
            what = f"is truncated: it has {size} bytes instead of {part.start + part.length}"
            return _describe(folder, path, entry.name, "truncated", what)
        return _describe(folder, path, entry.name, "damaged", f"is damaged ({_why(error)})")
    return None


def _why(error: SpaceError) -> str:
    """The reason in the brackets of an error's sentence."""
    return str(error).partition(" (")[2].partition("). ")[0] or str(error)


def _check_sheet(folder: Path, protocol: Protocol, stem: str, entries: Sequence[CatalogueEntry]) -> Iterator[Problem]:
    """Check the rows of a sheet: one problem per model."""
    path = prints_path(folder, stem)
    try:
        for entry, kind, words in find_changed_rows(folder, protocol, stem, entries):
            yield _describe(folder, path, entry.name, kind, words)
    except (SpaceError, OSError) as error:
        kind = "missing" if not _is_file(path) else "truncated" if is_truncated(path) else "damaged"
        why = _why(error) if isinstance(error, SpaceError) else str(error.strerror or error)
        words = {"missing": "is missing", "truncated": "is truncated"}.get(kind, f"is damaged ({why})")
        for entry in entries:
            yield _describe(folder, path, entry.name, kind, words)


def _check_file(folder: Path, path: Path, expected: Checksum, model: str) -> Problem | None:
    try:
        found = checksum_of(path)
    except (FileNotFoundError, IsADirectoryError, NotRegularError):
        return _describe(folder, path, model, "missing", "is missing")
    except OSError as error:
        return _describe(folder, path, model, "damaged", f"can't be read ({error.strerror or error})")
    if found.length != expected.length:
        kind = "truncated" if found.length < expected.length else "damaged"
        return _describe(folder, path, model, kind, f"has {found.length} bytes instead of {expected.length}")
    if found.sha256 != expected.sha256:
        return _describe(folder, path, model, "damaged", "has changed: its checksum differs")
    return None


def _describe(folder: Path, path: Path, model: str, kind: str, what: str) -> Problem:
    """The problem of a model's file, and the way out."""
    words = f"{path} {what}; it belongs to {model}. Remove {model} from the space and add it again."
    return Problem(kind, _relative_name(folder, path), model, words)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def clear_interrupted(folder: Path, *, unfinished: bool = False) -> int:
    """Remove leftovers of interrupted work that no process is using; returns the number of files and folders.

    Maps with which the same command could resume are kept, unless `unfinished` is set.
    """
    with open_catalogue(folder) as book:
        return remove_leftovers(folder, book) + clear_abandoned(folder, unfinished=unfinished)


def compact(folder: Path) -> tuple[int, int]:
    """Remove leftovers, unreferenced files with names of this space's format, and cached values of removed models.

    Sets of probe images are compacted too. Returns the number of files removed and of bytes saved. Files of other formats are kept.
    """
    places = [find_set(folder, name) for name in list_sets(folder)]
    for place in places[1:]:
        read_set_protocol(place)  # all sets are compacted, or none
    parts = [_compact_set(place) for place in places[::-1]]
    return sum(count for count, _ in parts), sum(size for _, size in parts)


def _compact_set(folder: Path) -> tuple[int, int]:
    before = _total_bytes(folder)
    count = clear_interrupted(folder, unfinished=True)
    with open_catalogue(folder) as book:
        protocol = book.protocol()
    rewrite_sheets(folder, protocol)
    count += clear_interrupted(folder, unfinished=True)
    with open_catalogue(folder) as book:
        with book.transaction():  # blocks processes that place files
            used = {path for entry in book.entries() for path in files_of(folder, entry)}
            idle = [p for p in _list_files(folder) if p.parent != folder and _is_ours(p) and p not in used]
            remove_files(*idle)
        book.shrink()
        cache.prune(folder / CACHE, book.entries())
        prune_packs(folder, book.keys())
    sync_folder(folder)
    return count + len(idle), before - _total_bytes(folder)


def _is_ours(path: Path) -> bool:
    return path.suffix in (".npy", ".bin") and is_stem(path.stem) and _is_file(path)


def _total_bytes(folder: Path) -> int:
    sets = folder / SETS
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(sets))


def _relative_name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def remove(folder: Path, entry: CatalogueEntry) -> None:
    """Remove the model `entry`: first from the catalogue, then its files."""
    with open_catalogue(folder) as book:
        with book.transaction():
            book.delete(entry)
        remove_leftovers(folder, book)
