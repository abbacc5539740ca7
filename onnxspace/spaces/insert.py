"""Insertion of models: files are prepared in a work folder, renamed into place, and then entered in the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.labels import Labels
from onnxspace.inputs.protocol import MAX_NAME, MAX_TEXT, Protocol
from onnxspace.spaces.catalogue import Catalogue, open_catalogue
from onnxspace.spaces.layout import (
    checksum_of,
    maps_path,
    open_sheet,
    prints_path,
    read_part,
    read_prints,
    reduced_path,
    remove_leftovers,
)
from onnxspace.spaces.schema import CatalogueEntry, Checksum, Part, file_stem, split_stem, truncate
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import convert_write_errors, header_of, place, write_array, write_file
from onnxspace.storage.printable import escape_surrogates
from onnxspace.storage.regular_files import open_regular

#: Placeholders for the checksum and the stem of an entry that has none yet.
NO_SUM, NO_STEM = Checksum(0, "0" * 64), ""


def insert_model(
    folder: Path, draft: CatalogueEntry, prints: Path, maps: Path | None, reduced: Path | None = None, poorer: str = ""
) -> tuple[CatalogueEntry, bool]:
    """Enter a model whose complete, synchronised files `prints`, `maps` and `reduced` (None: none) are in the space's workbench.

    Returns the model's entry in the space, and whether it is new. A model that is already there is left unchanged, except that
    one added as a fingerprint is replaced by one with maps, and the fingerprint of the stem `poorer` in any case; a name that is
    taken is extended. The catalogue notes each file
    before it is renamed into place, so that an interruption leaves no unknown file behind. Raises OutputError where the disk
    is full.
    """
    draft = replace(
        truncate_entry(draft), prints=checksum_of(prints), maps=None if maps is None else checksum_of(maps),
        reduced=None if reduced is None else Part(0, *astuple(checksum_of(reduced))),
    )  # fmt: skip
    with open_catalogue(folder) as book:
        while True:
            with book.transaction():
                there = find_existing(book, draft, keep_maps=maps is not None)
                if there is not None and there.stem != poorer:
                    return there, False
                stem = free_stem(book, draft.identity)
                book.note(stem)
            with book.transaction():
                there = find_existing(book, draft, keep_maps=maps is not None)
                if not book.is_noted(stem) or (there is not None and there.stem != poorer) or book.uses(stem):
                    continue  # another process was faster
                if (before := book.find("content", draft.content)) is not None and not before.preprocess:
                    book.delete(before)
                    draft = replace(draft, name=before.name, labels=draft.labels.over(before.labels))
                entry = replace(draft, stem=stem, name=free_name(book, draft))
                place_files(folder, stem, prints, maps, reduced)
                book.insert(entry)
                book.forget(stem)
            remove_leftovers(folder, book)
            return entry, True


def find_existing(book: Catalogue, draft: CatalogueEntry, *, keep_maps: bool) -> CatalogueEntry | None:
    """Return the model that makes `draft` redundant: the same one or, if it adds no maps, one of the same content."""
    found = book.find("identity", draft.identity)
    if found is None and (draft.preprocess == "" or not keep_maps):
        same = book.find("content", draft.content)
        return same if same is not None and "" in (draft.preprocess, same.preprocess) else None
    return found


def place_files(folder: Path, stem: str, prints: Path, maps: Path | None = None, reduced: Path | None = None) -> None:
    """Rename files into their places in the space."""
    for source, make in ((maps, maps_path), (reduced, reduced_path), (prints, prints_path)):
        if source is not None:
            target = make(folder, stem)
            with convert_write_errors(target):
                target.parent.mkdir(exist_ok=True)
            place(source, target)


def free_stem(book: Catalogue, identity: str) -> str:
    """Return the first 12, 24 or 64 digits of `identity`, as few as are unique in the catalogue."""
    return next(identity[:n] for n in (12, 24, 64) if not book.uses(identity[:n]))


def free_name(book: Catalogue, draft: CatalogueEntry) -> str:
    """Return the name of `draft`, made unique by its encoder (same file), by its folder (another file), or by a number."""
    there = book.find("name", draft.name)
    if there is None:
        return draft.name
    parent = Path(draft.path).parent.name
    same = there.sha256 == draft.sha256
    longer = f"{draft.name}@{draft.encoder}" if same else f"{parent}/{draft.name}" if parent else draft.name
    if book.find("name", longer[:MAX_NAME]) is None:
        return longer[:MAX_NAME]
    return _number_name(book, longer[: MAX_NAME - 10])


def _number_name(book: Catalogue, name: str) -> str:
    """The name with a free number appended, found by bisection, as thousands of models may share a name."""

    def is_taken(number: int) -> bool:
        return book.find("name", f"{name}#{number}") is not None

    low, high = 1, 2
    while is_taken(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_taken(middle) else (low, middle)
    return f"{name}#{high}"


def current_time() -> str:
    """Return the current time in UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def truncate_entry(draft: CatalogueEntry) -> CatalogueEntry:
    """Return `draft` with texts truncated to the limits of a catalogue."""
    texts = {name: getattr(draft, name)[:MAX_TEXT] for name in ("path", "encoder", "input", "producer")}
    return replace(
        draft,
        name=escape_surrogates(draft.name)[:MAX_NAME] or "model",
        assumed=truncate(draft.assumed),
        warnings=truncate(draft.warnings),
        labels=replace(draft.labels, producer=""),  # which is a field of its own
        **texts,
    )


Rows = Sequence[NDArray[np.float16]]
#: The bytes of features and outputs in little of each model, None for one without.
Parts = Sequence[bytes | None]


def insert_sheet(
    folder: Path, drafts: Sequence[CatalogueEntry], rows: Rows, parts: Parts | None = None
) -> list[tuple[CatalogueEntry, bool]]:
    """Enter the models `drafts` by their fingerprints `rows`, float16 [images, numbers] each, together or not at all.

    `parts` are their features and outputs in little (None: no model has any).

    Returns each model's entry in the space, and whether it is new. Raises OutputError where the disk is full.
    """
    drafts = [truncate_entry(draft) for draft in drafts]
    with open_catalogue(folder) as book:
        fresh = _find_new(book, drafts)
    new: dict[int, CatalogueEntry] = {}
    if fresh:
        with open_workbench(folder) as bench, open_catalogue(folder) as book:
            write_array(bench / "prints.npy", np.stack([rows[i] for i in fresh]).astype("<f2"))
            held = dict(
                zip(fresh, write_parts(bench / "reduced.bin", [parts[i] if parts else None for i in fresh]), strict=True)
            )
            new = _enter_sheet(
                folder, book, bench, {i: replace(drafts[i], prints=_checksum(rows[i]), reduced=held[i]) for i in fresh}
            )
    with open_catalogue(folder) as book:
        return [(new[i], True) if i in new else (_find_existing_or_draft(book, draft), False) for i, draft in enumerate(drafts)]


def write_parts(path: Path, parts: Parts) -> list[Part | None]:
    """Write parts one after the other to a file, unless there are none; returns where each one is."""
    found: list[Part | None] = []
    start = 0
    for part in parts:
        found.append(None if part is None else Part(start, len(part), hashlib.sha256(part).hexdigest()))
        start += len(part or b"")
    if start:
        write_file(path, *(part for part in parts if part is not None))
    return found


def _find_new(book: Catalogue, drafts: Sequence[CatalogueEntry]) -> list[int]:
    """Positions of `drafts` that are not in the space; of several with the same content the first."""
    firsts = {draft.content: index for index, draft in reversed(list(enumerate(drafts)))}
    return [index for index in sorted(firsts.values()) if find_existing(book, drafts[index], keep_maps=False) is None]


def _find_existing_or_draft(book: Catalogue, draft: CatalogueEntry) -> CatalogueEntry:
    return find_existing(book, draft, keep_maps=False) or draft  # in case another process has removed it


def _enter_sheet(folder: Path, book: Catalogue, bench: Path, drafts: dict[int, CatalogueEntry]) -> dict[int, CatalogueEntry]:
    """Place the files of the workbench and insert its models; returns new ones, by position. The steps are those of `insert_model`."""
    key = hashlib.sha256("".join(draft.identity for draft in drafts.values()).encode()).hexdigest()
    while True:
        with book.transaction():
            stem = free_stem(book, key)
            book.note(stem)
        with book.transaction():
            if not book.is_noted(stem) or book.uses(stem):
                continue  # another process was faster
            new = dict(_insert_entries(book, stem, drafts))
            if new:
                _place_bench(folder, stem, bench)
            book.forget(stem)
        return new


def _insert_entries(book: Catalogue, stem: str, drafts: dict[int, CatalogueEntry]) -> Iterator[tuple[int, CatalogueEntry]]:
    for row, (index, draft) in enumerate(drafts.items()):
        if find_existing(book, draft, keep_maps=False) is None:
            entry = replace(draft, stem=f"{stem}.{row}", name=free_name(book, draft))
            book.insert(entry)
            yield index, entry


def _place_bench(folder: Path, stem: str, bench: Path) -> None:
    reduced = bench / "reduced.bin"
    place_files(folder, stem, bench / "prints.npy", reduced=reduced if reduced.exists() else None)


def _checksum(row: NDArray[np.float16]) -> Checksum:
    content = np.ascontiguousarray(row, dtype="<f2").tobytes()
    return Checksum(len(content), hashlib.sha256(content).hexdigest())


def find_changed_rows(
    folder: Path, protocol: Protocol, stem: str, entries: Sequence[CatalogueEntry]
) -> Iterator[tuple[CatalogueEntry, str, str]]:
    """Iterate over the models of the sheet `stem` whose rows have changed, with the kind of problem and the reason.

    Raises SpaceError where the sheet can't be read at all.
    """
    sheet, path = open_sheet(folder, stem, protocol), prints_path(folder, stem)
    head = header_of(sheet)
    with open_regular(path, follow=False) as file:
        same = file.read(len(head)) == head and path.stat().st_size == len(head) + sheet.nbytes
    for entry in entries:
        row = (split_stem(entry.stem) or ("", None))[1]
        if not same:
            yield entry, "damaged", "has changed: its header or its length differs"
        elif row is None or row >= len(sheet):
            yield entry, "truncated", f"is truncated: it has {len(sheet)} rows, and no row {row}"
        elif _checksum(sheet[row]) != entry.prints:
            yield entry, "damaged", f"has changed: row {row} differs"


def sheets_of(entries: Sequence[CatalogueEntry]) -> dict[str, list[CatalogueEntry]]:
    """Group models by the stem of the sheet that holds their fingerprints; models with their own files are left out."""
    sheets: dict[str, list[CatalogueEntry]] = {}
    for entry in entries:
        if entry.stem != file_stem(entry.stem):
            sheets.setdefault(file_stem(entry.stem), []).append(entry)
    return sheets


def rewrite_sheets(folder: Path, protocol: Protocol) -> None:
    """Rewrite sheets that have rows of removed models without those rows; the old sheets are noted as left over."""
    with open_catalogue(folder) as book:
        for stem, entries in sheets_of(book.entries()).items():
            if len(entries) < len(open_sheet(folder, stem, protocol)):
                _rewrite(folder, protocol, book, entries)


def _rewrite(folder: Path, protocol: Protocol, book: Catalogue, entries: Sequence[CatalogueEntry]) -> None:
    prints = read_prints(folder, [entry.stem for entry in entries], protocol)
    parts = [None if entry.reduced is None else read_part(folder, entry) for entry in entries]
    move_rows(folder, book, entries, entries, prints, parts)


def move_rows(
    folder: Path, book: Catalogue, entries: Sequence[CatalogueEntry], moved: Sequence[CatalogueEntry], prints: NDArray[np.float16],
    parts: Parts,
) -> bool:  # fmt: skip
    """Write `prints`, float16 [models, images, numbers], and `parts` of models without maps into a new sheet.

    The entries become those of `moved`, with their new stems, and their old files are noted as left over. Returns False where
    another process is working on these models: the next one clears the note and the file, if any. Raises OutputError.
    """
    with open_workbench(folder) as bench:
        write_array(bench / "prints.npy", prints)
        held = write_parts(bench / "reduced.bin", parts)
        with book.transaction():
            new = free_stem(book, hashlib.sha256("".join(e.identity for e in entries).encode()).hexdigest())
            book.note(new)
        with book.transaction():
            if not book.is_noted(new) or book.uses(new) or any(book.find("stem", e.stem) != e for e in entries):
                return False
            _place_bench(folder, new, bench)
            for row, (before, after, part) in enumerate(zip(entries, moved, held, strict=True)):
                book.move(before, replace(after, stem=f"{new}.{row}", reduced=part))
            for stem in {file_stem(entry.stem) for entry in entries}:
                book.note(stem)
            book.forget(new)
    return True


def add_labels(folder: Path, found: Sequence[tuple[CatalogueEntry, Labels]]) -> list[str]:
    """Add labels to models that are in the space already; a licence replaces another one only if it is stated.

    Returns the names of the models whose labels are others now.
    """
    wanted = [(entry, labels) for entry, labels in found if labels.over(entry.labels) != entry.labels]
    if not wanted:
        return []
    changed = []
    with open_catalogue(folder) as book, book.transaction():
        for entry, labels in wanted:
            if (now := book.find("identity", entry.identity)) is not None:
                new = replace(labels, producer="").over(now.labels)
                changed += [now.name] if new != now.labels else []
                book.label(now, new)
    return changed
