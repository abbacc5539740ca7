"""How sure the rankings of a space's models are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxspace.certainty import Certainty, certainty
from onnxspace.distance import DEFAULT_MEMORY
from onnxspace.errors import SpaceError
from onnxspace.evidence import evidences
from onnxspace.rank import Ranking
from onnxspace.spaces.facts import Entry, Made
from onnxspace.spaces.files import checked_maps, read_prints


def certainties(
    folder: Path, made: Made, entries: Sequence[Entry], rankings: Sequence[Ranking], memory: int = DEFAULT_MEMORY
) -> Iterator[Certainty]:
    """Of each ranking, from maps where target and source have them, else from fingerprints.

    Raises SpaceError where models came or went.
    """
    names = {entry.name: place for place, entry in enumerate(entries)}
    for ranking in rankings:
        if {ranking.target, *(name for name, _ in ranking.sources)} != set(names):
            raise SpaceError(f"Models were added to or removed from {folder} meanwhile. Ask again.")
    maps = [None if entry.maps is None else checked_maps(folder, entry, made) for entry in entries]
    known = evidences(
        [names[ranking.target] for ranking in rankings], maps, lambda i: read_prints(folder, [entries[i].stem], made)[0], memory
    )
    for ranking, one in zip(rankings, known, strict=True):
        yield certainty(ranking, list(names), one)
