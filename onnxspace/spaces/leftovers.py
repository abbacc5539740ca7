"""Files that the catalogue notes as left over: of an interrupted write, or of a model that was removed."""

from __future__ import annotations

from pathlib import Path

from onnxspace.spaces.catalogue import Catalogue
from onnxspace.spaces.files import drop, maps_path, prints_path


def clear_noted(folder: Path, book: Catalogue) -> int:
    """Remove the files that the catalogue notes as left over."""
    if not book.leftovers():
        return 0
    count = 0
    with book.transaction():
        for stem in book.leftovers():
            if not book.uses(stem):
                there = [path for path in (maps_path(folder, stem), prints_path(folder, stem)) if path.exists()]
                drop(*there)
                count += len(there)
            book.forget(stem)
    return count
