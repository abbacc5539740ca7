"""Sheets: the fingerprints of many models in one file, a row each, which enter the space in one transaction.

A sheet is not changed once it is there. Rows of models that were removed lie idle until `compact` writes the others anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.spaces.catalogue import Catalogue, catalogue
from onnxspace.spaces.facts import Entry, Made, Sum, file_stem, placed
from onnxspace.spaces.files import header_of, open_sheet, place, prints_path, read_prints, write_array, written
from onnxspace.spaces.put import bounded, free_name, free_stem, known
from onnxspace.spaces.work import workbench

Rows = Sequence[NDArray[np.float16]]


def put_sheet(folder: Path, drafts: Sequence[Entry], rows: Rows) -> list[tuple[Entry, bool]]:
    """Enter models by their fingerprints, float16 [images, numbers] each, all at once or none.

    Gives for each the model as it is in the space, and whether it is new there. Raises OutputError where the disk is full.
    """
    drafts = [bounded(draft) for draft in drafts]
    with catalogue(folder) as book:
        fresh = _fresh(book, drafts)
    new: dict[int, Entry] = {}
    if fresh:
        with workbench(folder) as bench, catalogue(folder) as book:
            sums = {i: _sum(rows[i]) for i in fresh}
            write_array(bench / "prints.npy", np.stack([rows[i] for i in fresh]).astype("<f2"))
            new = _enter(folder, book, bench / "prints.npy", {i: replace(drafts[i], prints=sums[i]) for i in fresh})
    with catalogue(folder) as book:
        return [(new[i], True) if i in new else (_there(book, draft), False) for i, draft in enumerate(drafts)]


def _fresh(book: Catalogue, drafts: Sequence[Entry]) -> list[int]:
    """Which are not in the space; of those with the same content the first."""
    firsts = {draft.content: index for index, draft in reversed(list(enumerate(drafts)))}
    return [index for index in sorted(firsts.values()) if known(book, drafts[index], keep_maps=False) is None]


def _there(book: Catalogue, draft: Entry) -> Entry:
    return known(book, draft, keep_maps=False) or draft  # removed meanwhile by another process


def _enter(folder: Path, book: Catalogue, sheet: Path, drafts: dict[int, Entry]) -> dict[int, Entry]:
    """Place the sheet and insert its models; gives those that are new, by number. Steps as in `put`."""
    key = hashlib.sha256("".join(draft.identity for draft in drafts.values()).encode()).hexdigest()
    while True:
        with book.transaction():
            stem = free_stem(book, key)
            book.note(stem)
        with book.transaction():
            if not book.noted(stem) or book.uses(stem):
                continue  # another process was faster
            new = dict(_inserted(book, stem, drafts))
            if new:
                _place(sheet, prints_path(folder, stem))
            book.forget(stem)
        return new


def _inserted(book: Catalogue, stem: str, drafts: dict[int, Entry]) -> Iterator[tuple[int, Entry]]:
    for row, (index, draft) in enumerate(drafts.items()):
        if known(book, draft, keep_maps=False) is None:
            entry = replace(draft, stem=f"{stem}.{row}", name=free_name(book, draft))
            book.insert(entry)
            yield index, entry


def _place(sheet: Path, target: Path) -> None:
    with written(target):
        target.parent.mkdir(exist_ok=True)
    place(sheet, target)


def _sum(row: NDArray[np.float16]) -> Sum:
    content = np.ascontiguousarray(row, dtype="<f2").tobytes()
    return Sum(len(content), hashlib.sha256(content).hexdigest())


def differing(folder: Path, made: Made, stem: str, entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Models of the sheet `stem` whose rows are not as they were written. Raises SpaceError where it can't be read at all."""
    sheet, path = open_sheet(folder, stem, made), prints_path(folder, stem)
    head = header_of(sheet)
    with path.open("rb") as file:
        same = file.read(len(head)) == head and path.stat().st_size == len(head) + sheet.nbytes
    for entry in entries:
        row = (placed(entry.stem) or ("", None))[1]
        if not same or row is None or row >= len(sheet) or _sum(sheet[row]) != entry.prints:
            yield entry, "is not as it was written: its length" if not same else f"is not as it was written: row {row}"


def sheets_of(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The models of each sheet."""
    sheets: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.stem != file_stem(entry.stem):
            sheets.setdefault(file_stem(entry.stem), []).append(entry)
    return sheets


def rewrite(folder: Path, made: Made) -> None:
    """Write sheets with idle rows anew, without them. The old ones are noted as left over."""
    with catalogue(folder) as book:
        for stem, entries in sheets_of(book.entries()).items():
            if len(entries) < len(open_sheet(folder, stem, made)):
                _rewrite(folder, made, book, stem, entries)


def _rewrite(folder: Path, made: Made, book: Catalogue, stem: str, entries: Sequence[Entry]) -> None:
    with workbench(folder) as bench:
        write_array(bench / "prints.npy", read_prints(folder, [entry.stem for entry in entries], made))
        with book.transaction():
            new = free_stem(book, hashlib.sha256("".join(e.identity for e in entries).encode()).hexdigest())
            book.note(new)
        with book.transaction():
            if not book.noted(new) or book.uses(new) or any(book.find("stem", e.stem) != e for e in entries):
                return  # another process is at work: the note, and the file, if any, are cleared by the next
            _place(bench / "prints.npy", prints_path(folder, new))
            for row, entry in enumerate(entries):
                book.move(entry, replace(entry, stem=f"{new}.{row}"))
            book.note(stem)
            book.forget(new)
