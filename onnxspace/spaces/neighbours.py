"""Nearest models and duplicates in a space, by fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import Share
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.count_sketch import affinities as sketch_affinities
from onnxspace.similarity.fingerprints.count_sketch import flatten
from onnxspace.similarity.fingerprints.hnsw import Index
from onnxspace.similarity.fingerprints.search import Group, Pair, find_nearest, find_pairs_above, group_pairs, rerank
from onnxspace.spaces.catalogue import Catalogue, open_catalogue
from onnxspace.spaces.compare import affinities, affinity_row
from onnxspace.spaces.layout import INDEX, KEYS, ROWS, read_prints
from onnxspace.spaces.packed import as_matrix, index_for, pack_prints
from onnxspace.spaces.packs import update_pack
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.snapshots import Snapshot, take_snapshot
from onnxspace.storage.short_text import MOST_LINES, count, join_lines, list_names

_AT_ONCE = 4096  # models whose fingerprints are held in memory together
_MORE = 16  # additional candidates for reranking, as rows are rounded to float16
_EFFORT = 256  # the least number of rows that an index proposes


@dataclass(frozen=True)
class Neighbour:
    """A model of the space, its affinity estimated from fingerprints, and the standard `error` of the estimate.

    Of a search by use, `value` is that of the score that ranks, `place` the place, which equal values share, and `scores` the values
    of all scores by name, None where there is none.
    """

    name: str
    affinity: float
    error: float
    value: float | None = None
    place: int | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """A search for the `count` models nearest to the fingerprint `prints` [images, numbers].

    `own` is the identity of the model of the space that it belongs to, which is left out (None: of another model). An `exact`
    search does not use the index.
    """

    prints: NDArray[np.floating[Any]]
    count: int
    own: bytes | None = None
    exact: bool = False


def find_neighbours(
    folder: Path, protocol: Protocol, query: Query, warn: Callable[[str], None] | None = None,
    keep: frozenset[str] | None = None,
) -> tuple[Neighbour, ...]:  # fmt: skip
    """Find the models nearest to a fingerprint, best first, among those whose identities are in `keep` (None: all).

    One pass over the packed fingerprints, or a search of their index where there are many, proposes a few more candidates than
    requested; they are reranked by the fingerprint files. `warn` receives advice on the index. Raises SpaceError for a damaged
    space.
    """
    with open_catalogue(folder) as book:
        models = _propose_models(folder, protocol, book, query, warn, keep)
    values = np.empty((2, len(models)))
    for first in range(0, len(models), _AT_ONCE):
        many = read_prints(folder, [entry.stem for entry in models[first : first + _AT_ONCE]], protocol)
        values[:, first : first + _AT_ONCE] = np.stack(sketch_affinities(query.prints[None], many))[:, 0]
    order = np.argsort(-values[0], kind="stable")[: query.count]
    return tuple(Neighbour(models[i].name, float(values[0, i]), float(values[1, i])) for i in order)


def _propose_models(
    folder: Path, protocol: Protocol, book: Catalogue, query: Query, warn: Callable[[str], None] | None,
    keep: frozenset[str] | None,
) -> Sequence[CatalogueEntry]:  # fmt: skip
    """Candidates for the nearest models; equal ones are in the order of the space."""
    kept = None if keep is None else frozenset(map(bytes.fromhex, keep))
    packing = pack_prints(folder, protocol)
    found = take_snapshot(
        folder, packing, book, lambda pack: index_for(folder, as_matrix(pack.rows)), (KEYS, ROWS, INDEX), keep=kept
    )
    if found is None:
        wanted = (book.keys() if kept is None else book.keys() & kept) - {query.own}
        return [entry for entry in book.entries() if bytes.fromhex(entry.identity) in wanted]
    if found.advice and warn is not None and not query.exact:
        warn(found.advice)
    keys = _nearest_keys(found, query)
    return [entry for key in keys if (entry := book.find("identity", key.hex())) is not None]


def _nearest_keys(found: Snapshot, query: Query) -> list[bytes]:
    """Identities of the nearest rows of models that still exist, best first."""
    row, count, alive, matrix = flatten(query.prints[None])[0], query.count + _MORE, found.alive, as_matrix(found.pack.rows)
    idle = len(alive) - int(alive.sum())
    rows = None if found.index is None or query.exact else _search_index(matrix, found.index, alive, row, count + 1)
    if rows is None:
        rows = find_nearest(row, matrix, count + 1 + idle)[0]
    return [key for key in (found.pack.keys[i] for i in rows if alive[i]) if key != query.own][:count]


def _search_index(
    matrix: NDArray[np.float16], index: Index, alive: NDArray[np.bool_], row: NDArray[np.float32], count: int
) -> NDArray[np.intp] | None:
    """The best of the rows that the index proposes and of all later rows; None where too few of their models still exist."""
    share = max(float(alive[: len(index.matrix)].mean()), 0.1)
    proposed = index.propose(row[None], round(max(_EFFORT, count) / share))[0]
    late = find_nearest(row, matrix[len(index.matrix) :], count + int((~alive[len(index.matrix) :]).sum()))[0]
    candidates = np.concatenate([proposed, late + len(index.matrix)])
    candidates = np.unique(candidates[alive[candidates]])
    if len(candidates) < min(count, int(alive.sum())):
        return None
    return rerank(row, matrix, candidates, count)[0]


_ERRORS = 6.0  # the margin for errors of fingerprints, in standard errors


#: Affinity from which on two models count as duplicates. Of twelve networks of models/, copies in half precision have .998 or more,
#: copies in 8 bits .926 to .974, copies with 1 % of noise on every weight .953 to .990; distinct networks of one architecture .847
#: at most, which were trained one from the other. docs/duplicates.md judges it on other networks.
DUPLICATE = 0.9


@dataclass(frozen=True)
class DuplicateGroups:
    """Groups of models connected by affinities of a threshold or more; their rows are positions in `names`."""

    names: tuple[str, ...]
    groups: tuple[Group, ...]

    def __repr__(self) -> str:
        groups = [list_names(names, 5) for names in self.members]
        more = [f"and {len(groups) - MOST_LINES:,} more"] if len(groups) > MOST_LINES else []
        return join_lines(f"{count(len(groups), 'group')} among {count(len(self.names), 'model')}", groups[:MOST_LINES], more)

    @property
    def pairs(self) -> tuple[tuple[str, str, float, float], ...]:
        """Both names, affinity and its standard error of each pair, most similar first."""
        every = sorted((pair for group in self.groups for pair in group.pairs), key=lambda p: (-p.affinity, p.first, p.second))
        return tuple((self.names[p.first], self.names[p.second], p.affinity, p.standard_error) for p in every)

    @property
    def members(self) -> tuple[tuple[str, ...], ...]:
        """The names of each group, the largest first."""
        return tuple(tuple(self.names[i] for i in group.members) for group in self.groups)


def find_duplicates(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], least: float, memory: int, progress: Share | None = None,
    warn: Callable[[str], None] | None = None,
) -> DuplicateGroups:  # fmt: skip
    """Find groups of models with affinities of `least` or more; without a matrix of all models where `least` is well above 0.

    Fingerprints propose every pair that could reach it, which is then verified as in `affinity_row`. With an index (see
    `index_for`) a pair may be missed, of which `warn` informs. `memory` bounds the bytes that are read at once; `progress`
    receives the share that is done. Raises SpaceError for a file that is missing or damaged.
    """
    low = least - _ERRORS * (1 - least**2) / np.sqrt(protocol.images * protocol.numbers)
    found = _propose_pairs(folder, protocol, entries, low, warn) if low > 0 else None
    if found is None:
        pairs = _pairs_from_matrix(folder, protocol, entries, least, memory, progress)
    else:
        pairs = [p for p in _verify_pairs(folder, protocol, entries, found, memory, progress) if p.affinity >= least]
    return DuplicateGroups(tuple(entry.name for entry in entries), tuple(group_pairs(pairs)))


def _pairs_from_matrix(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], least: float, memory: int, progress: Share | None
) -> list[Pair]:
    """Pairs from the matrix of all models."""
    matrix, errors = affinities(folder, protocol, entries, memory, progress)
    rows, columns = np.nonzero(np.triu(matrix >= least, 1))
    errs = np.zeros(len(rows)) if errors is None else errors[rows, columns]
    values = zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), errs.tolist(), strict=True)
    return [Pair(*value) for value in values]


def _propose_pairs(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], low: float, warn: Callable[[str], None] | None
) -> list[Pair] | None:
    """Pairs of entries whose fingerprints have an affinity of `low` or more; None where the pack is not available."""
    place = {bytes.fromhex(entry.identity): i for i, entry in enumerate(entries)}
    with open_catalogue(folder) as book:
        pack = update_pack(folder, pack_prints(folder, protocol), book, set(place))
    if pack is None:
        return None
    matrix = as_matrix(pack.rows)
    index, advice = index_for(folder, matrix)
    if warn is not None and (advice or index is not None):
        warn(advice or "Pairs were searched with the index, which may miss some.")
    propose, count = (None, None) if index is None else (index.propose, len(index.matrix))
    pairs = find_pairs_above(matrix, low, propose, count)
    return list(_to_entries(pack.keys, pairs, place))


def _to_entries(keys: Sequence[bytes], pairs: Sequence[Pair], place: dict[bytes, int]) -> Iterator[Pair]:
    """Convert rows of the pack to positions of entries, dropping pairs of removed models."""
    for pair in pairs:
        ends = [place.get(keys[row]) for row in (pair.first, pair.second)]
        if ends[0] is not None and ends[1] is not None:
            yield replace(pair, first=min(ends[0], ends[1]), second=max(ends[0], ends[1]))


def _verify_pairs(
    folder: Path,
    protocol: Protocol,
    entries: Sequence[CatalogueEntry],
    pairs: Sequence[Pair],
    memory: int,
    progress: Share | None,
) -> Iterator[Pair]:
    """The pairs with affinities computed from the space; models with most pairs first, so that few rows are computed."""
    left: dict[int, set[int]] = {}
    for pair in pairs:
        left.setdefault(pair.first, set()).add(pair.second)
        left.setdefault(pair.second, set()).add(pair.first)
    for done, one in enumerate(sorted(left, key=lambda i: (-len(left[i]), i))):
        others = sorted(left.pop(one))
        for other in others:
            left[other].discard(one)
        if others:
            row = affinity_row(folder, protocol, [entries[i] for i in (one, *others)], 0, memory, keep=False)
            yield from _pairs_from_row(one, others, row)
        if progress is not None:
            progress((done + 1) / (done + 1 + len(left)))


def _pairs_from_row(one: int, others: Sequence[int], row: NDArray[Any]) -> Iterator[Pair]:
    for other, value, error in zip(others, *row[:, 1:].tolist(), strict=True):
        yield Pair(min(one, other), max(one, other), value, error)
