"""Pairs of models that may be one network: proposed by fingerprints, decided by maps where both have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.search import Group, Pair, grouped, pairs_above
from onnxspace.spaces.catalogue import catalogue
from onnxspace.spaces.compare import affinities, affinity_row
from onnxspace.spaces.facts import Entry, Made
from onnxspace.spaces.indexing import index_for
from onnxspace.spaces.pack import Pack, packed

Share = Callable[[float], None]
_ERRORS = 6.0  # standard errors by which fingerprints may be wrong


@dataclass(frozen=True)
class Twins:
    """Groups of models tied together by affinities of `least` or more; rows are places in `names`."""

    names: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def pairs(self) -> tuple[tuple[str, str, float, float], ...]:
        """Name, name, affinity and its standard error, most alike first."""
        every = sorted((pair for group in self.groups for pair in group.pairs), key=lambda p: (-p.affinity, p.first, p.second))
        return tuple((self.names[p.first], self.names[p.second], p.affinity, p.standard_error) for p in every)

    @property
    def members(self) -> tuple[tuple[str, ...], ...]:
        """The names of each group, the largest first."""
        return tuple(tuple(self.names[i] for i in group.members) for group in self.groups)


def twins(
    folder: Path, made: Made, entries: Sequence[Entry], least: float, memory: int, progress: Share | None = None,
    warn: Callable[[str], None] | None = None,
) -> Twins:  # fmt: skip
    """Pairs of affinity `least` or more. Without a matrix of all models, where `least` is well above 0.

    Fingerprints propose every pair that could reach it; rows of maps, as in `affinity_row`, decide. With an index (see
    `index_for`) a pair may be missed, and `warn` says so.
    """
    low = least - _ERRORS * (1 - least**2) / np.sqrt(made.images * made.numbers)
    found = _proposed(folder, made, entries, low, warn) if low > 0 else None
    if found is None:
        pairs = _among(folder, made, entries, least, memory, progress)
    else:
        pairs = [p for p in _decided(folder, made, entries, found, memory, progress) if p.affinity >= least]
    return Twins(tuple(entry.name for entry in entries), tuple(grouped(pairs)))


def _among(folder: Path, made: Made, entries: Sequence[Entry], least: float, memory: int, progress: Share | None) -> list[Pair]:
    """From the matrix of all."""
    matrix, errors = affinities(folder, made, entries, memory, progress)
    rows, columns = np.nonzero(np.triu(matrix >= least, 1))
    errs = np.zeros(len(rows)) if errors is None else errors[rows, columns]
    values = zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), errs.tolist(), strict=True)
    return [Pair(*value) for value in values]


def _proposed(
    folder: Path, made: Made, entries: Sequence[Entry], low: float, warn: Callable[[str], None] | None
) -> list[Pair] | None:
    """Pairs of entries whose fingerprints are so much alike; None where there is no pack to be had."""
    place = {bytes.fromhex(entry.identity): i for i, entry in enumerate(entries)}
    with catalogue(folder) as book:
        pack = packed(folder, made, book, set(place))
    if pack is None:
        return None
    index, said = index_for(folder, pack)
    if warn is not None and (said or index is not None):
        warn(said or "Pairs were sought with the index, which may miss some.")
    propose, count = (None, None) if index is None else (index.propose, len(index.matrix))
    pairs = pairs_above(pack.matrix, low, propose, count)
    return list(_placed(pack, pairs, place))


def _placed(pack: Pack, pairs: Sequence[Pair], place: dict[bytes, int]) -> Iterator[Pair]:
    """Rows of the pack as places among the entries, without those of removed models."""
    for pair in pairs:
        ends = [place.get(pack.keys[row]) for row in (pair.first, pair.second)]
        if ends[0] is not None and ends[1] is not None:
            yield replace(pair, first=min(ends[0], ends[1]), second=max(ends[0], ends[1]))


def _decided(
    folder: Path, made: Made, entries: Sequence[Entry], pairs: Sequence[Pair], memory: int, progress: Share | None
) -> Iterator[Pair]:
    """The same pairs with the affinities that the space gives them; the model with most pairs first, so that rows are few."""
    left: dict[int, set[int]] = {}
    for pair in pairs:
        left.setdefault(pair.first, set()).add(pair.second)
        left.setdefault(pair.second, set()).add(pair.first)
    for done, one in enumerate(sorted(left, key=lambda i: (-len(left[i]), i))):
        others = sorted(left.pop(one))
        for other in others:
            left[other].discard(one)
        if others:
            row = affinity_row(folder, made, [entries[i] for i in (one, *others)], 0, memory, keep=False)
            yield from _of_row(one, others, row)
        if progress is not None:
            progress((done + 1) / (done + 1 + len(left)))


def _of_row(one: int, others: Sequence[int], row: NDArray[Any]) -> Iterator[Pair]:
    for other, value, error in zip(others, *row[:, 1:].tolist(), strict=True):
        yield Pair(min(one, other), max(one, other), value, error)
