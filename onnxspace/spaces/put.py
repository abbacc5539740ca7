"""How a model enters a space: its files are made ready elsewhere, get their names, and only then is it in the catalogue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from onnxspace.spaces.catalogue import Catalogue, catalogue
from onnxspace.spaces.facts import MAX_NAME, MAX_TEXT, Entry, Sum, short
from onnxspace.spaces.files import maps_path, place, prints_path, sum_of, written
from onnxspace.spaces.leftovers import clear_noted

#: The checksum and the stem of an entry that has none yet.
NO_SUM, NO_STEM = Sum(0, "0" * 64), ""


def put(folder: Path, draft: Entry, prints: Path, maps: Path | None) -> tuple[Entry, bool]:
    """Enter a model whose whole, synchronised files lie in the space's workbench.

    Gives the model as it is in the space, and whether it is new there. One that is known stays as it is; one that came as a
    fingerprint gives way to whole maps; a name that is taken is made longer. Before a file gets its name the catalogue notes it, so that no interruption leaves an
    unknown file behind. Raises OutputError where the disk is full.
    """
    draft = replace(bounded(draft), prints=sum_of(prints), maps=None if maps is None else sum_of(maps))
    with catalogue(folder) as book:
        while True:
            with book.transaction():
                if (there := known(book, draft, keep_maps=maps is not None)) is not None:
                    return there, False
                stem = free_stem(book, draft.identity)
                book.note(stem)
            with book.transaction():
                if not book.noted(stem) or known(book, draft, keep_maps=maps is not None) or book.uses(stem):
                    continue  # another process was faster
                if (before := book.find("content", draft.content)) is not None and not before.preprocess:
                    book.delete(before)
                    draft = replace(draft, name=before.name)
                entry = replace(draft, stem=stem, name=free_name(book, draft))
                _place(folder, stem, prints, maps)
                book.insert(entry)
                book.forget(stem)
            clear_noted(folder, book)
            return entry, True


def known(book: Catalogue, draft: Entry, *, keep_maps: bool) -> Entry | None:
    """The model of the space that makes this one needless: the same, or where no maps are to be gained, the same content."""
    found = book.find("identity", draft.identity)
    if found is None and (draft.preprocess == "" or not keep_maps):
        alike = book.find("content", draft.content)
        return alike if alike is not None and "" in (draft.preprocess, alike.preprocess) else None
    return found


def _place(folder: Path, stem: str, prints: Path, maps: Path | None) -> None:
    for source, target in ((maps, maps_path(folder, stem)), (prints, prints_path(folder, stem))):
        if source is not None:
            with written(target):
                target.parent.mkdir(exist_ok=True)
            place(source, target)


def free_stem(book: Catalogue, identity: str) -> str:
    """The first digits of the identity, as few as tell it from others."""
    return next(identity[:n] for n in (12, 24, 64) if not book.uses(identity[:n]))


def free_name(book: Catalogue, draft: Entry) -> str:
    """The name, or one that says the encoder (another part of the same file) or the folder (another file), or numbered."""
    there = book.find("name", draft.name)
    if there is None:
        return draft.name
    parent = Path(draft.path).parent.name
    same = there.sha256 == draft.sha256
    longer = f"{draft.name}@{draft.encoder}" if same else f"{parent}/{draft.name}" if parent else draft.name
    if book.find("name", longer[:MAX_NAME]) is None:
        return longer[:MAX_NAME]
    return _numbered(book, longer[: MAX_NAME - 10])


def _numbered(book: Catalogue, name: str) -> str:
    """The name with a free number behind it, sought by halves: thousands of models may have one name."""

    def taken(number: int) -> bool:
        return book.find("name", f"{name}#{number}") is not None

    low, high = 1, 2
    while taken(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if taken(middle) else (low, middle)
    return f"{name}#{high}"


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def printable(name: str) -> str:
    """Half characters, as bytes that are no text give them, are written out: SQLite takes none."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def bounded(draft: Entry) -> Entry:
    """Within what a catalogue takes."""
    texts = {name: getattr(draft, name)[:MAX_TEXT] for name in ("path", "encoder", "input", "producer")}
    return replace(
        draft,
        name=printable(draft.name)[:MAX_NAME] or "model",
        assumed=short(draft.assumed),
        warnings=short(draft.warnings),
        **texts,
    )
