"""Which models of a space are nearest to a fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.countsketch import affinities, flatten
from onnxspace.index import Index
from onnxspace.search import nearest, rerank
from onnxspace.spaces.catalogue import Catalogue, catalogue
from onnxspace.spaces.facts import Entry, Made
from onnxspace.spaces.files import read_prints
from onnxspace.spaces.indexing import index_for
from onnxspace.spaces.pack import Pack, packed

Prints = NDArray[np.floating[Any]]
_AT_ONCE = 4096  # models whose fingerprints are held together
_MORE = 16  # models that are looked at again: rows are rounded to float16
_EFFORT = 256  # rows that an index proposes, at least


@dataclass(frozen=True)
class Neighbour:
    """A model of the space, its affinity as its fingerprint tells it, and the standard error of that."""

    name: str
    affinity: float
    error: float


@dataclass(frozen=True)
class Query:
    """The fingerprint [images, numbers] that is sought, of the model `own` of the space or of another (None)."""

    prints: Prints
    count: int
    own: bytes | None = None
    exact: bool = False


def neighbours(folder: Path, made: Made, query: Query, warn: Callable[[str], None] | None = None) -> tuple[Neighbour, ...]:
    """The models nearest to a fingerprint, best first.

    One pass over the packed fingerprints, or their index where they are many, proposes some more than are asked for; the
    fingerprints' own files decide. `warn` gets what should be done for the index.
    """
    with catalogue(folder) as book:
        models = _proposed(folder, made, book, query, warn)
    values = np.empty((2, len(models)))
    for first in range(0, len(models), _AT_ONCE):
        many = read_prints(folder, [entry.stem for entry in models[first : first + _AT_ONCE]], made)
        values[:, first : first + _AT_ONCE] = np.stack(affinities(query.prints[None], many))[:, 0]
    order = np.argsort(-values[0], kind="stable")[: query.count]
    return tuple(Neighbour(models[i].name, float(values[0, i]), float(values[1, i])) for i in order)


def _proposed(folder: Path, made: Made, book: Catalogue, query: Query, warn: Callable[[str], None] | None) -> Sequence[Entry]:
    """Models that may be nearest, in the order in which the space lists them as far as they are equal."""
    living = book.keys()
    pack = packed(folder, made, book, living)
    if pack is None:
        return [entry for entry in book.entries() if bytes.fromhex(entry.identity) != query.own]
    living.discard(query.own or b"")
    index, said = (None, "") if query.exact else index_for(folder, pack)
    if said and warn is not None:
        warn(said)
    keys = _keys(pack, index, pack.alive(living), query)
    return [entry for key in keys if (entry := book.find("identity", key.hex())) is not None]


def _keys(pack: Pack, index: Index | None, alive: NDArray[np.bool_], query: Query) -> list[bytes]:
    """Identities of the rows that are nearest and alive, best first."""
    row, count = flatten(query.prints[None])[0], query.count + _MORE
    idle = len(alive) - int(alive.sum())
    rows = None if index is None else _approximate(pack, index, alive, row, count)
    if rows is None:
        rows = nearest(row, pack.matrix, count + idle)[0]
    return [pack.keys[i] for i in rows if alive[i]][:count]


def _approximate(
    pack: Pack, index: Index, alive: NDArray[np.bool_], row: NDArray[np.float32], count: int
) -> NDArray[np.intp] | None:
    """Rows that the index proposes and all that came after it, the best of them; None where too few of them are alive."""
    share = max(float(alive[: len(index.matrix)].mean()), 0.1)
    proposed = index.propose(row[None], round(max(_EFFORT, count) / share))[0]
    late = nearest(row, pack.matrix[len(index.matrix) :], count + int((~alive[len(index.matrix) :]).sum()))[0]
    candidates = np.concatenate([proposed, late + len(index.matrix)])
    candidates = np.unique(candidates[alive[candidates]])
    if len(candidates) < min(count, int(alive.sum())):
        return None
    return rerank(row, pack.matrix, candidates, count)[0]
