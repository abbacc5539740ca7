"""Affinities between the models of a space: from maps where both models have them, else from fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import DamagedFileError, SpaceError
from onnxspace.inputs.execution import DEFAULT_MEMORY, Share
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.certainty import Certainty, estimate_certainty
from onnxspace.similarity.fingerprints.count_sketch import affinities as sketch_affinities
from onnxspace.similarity.gram import RowFunction, affinity_matrix, affinity_rows
from onnxspace.similarity.per_image import read_per_image
from onnxspace.similarity.ranking import Ranking, bracket_ties
from onnxspace.spaces import affinity_cache as cache
from onnxspace.spaces.layout import CACHE, check_maps, read_prints
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.storage.float16 import all_finite
from onnxspace.storage.regular_files import map_array

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AffinityRow:
    """Affinities of the model `target` with all of `names`, itself included, and their standard errors: float64 [models]."""

    target: str
    names: tuple[str, ...]
    affinities: Matrix
    errors: Matrix

    def __repr__(self) -> str:
        return repr(self.ranking)

    @property
    def sources(self) -> tuple[tuple[str, float, float], ...]:
        """Every other model, its affinity and its standard error, best first, ties by position."""
        order = np.argsort(-self.affinities, kind="stable").tolist()
        values = ((self.names[i], float(self.affinities[i]), float(self.errors[i])) for i in order)
        return tuple(value for value in values if value[0] != self.target)

    @property
    def ranking(self) -> Ranking:
        """The sources without standard errors."""
        sources = tuple((name, value) for name, value, _ in self.sources)
        return Ranking(self.target, sources, brackets=bracket_ties(sources))


def affinities(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], memory: int = DEFAULT_MEMORY, progress: Share | None = None,
    rows: RowFunction | None = None,
) -> tuple[Matrix, Matrix | None]:  # fmt: skip
    """Compute affinities of `entries` and their standard errors (None: all have maps), float64 [entries, entries] each.

    Only rows that are not cached are computed. `memory` bounds the bytes that are read at once; `progress` receives the share
    that is done, 0 to 1; `rows` compares maps outside this process (None: here). Raises SpaceError for a file that is missing
    or damaged.
    """
    path, whole = folder / CACHE, all(entry.maps is not None for entry in entries)
    pairs = cache.load(path, entries, errors=not whole)
    new = [i for i in range(len(entries)) if np.isnan(pairs[0, i, :i]).any()]
    if whole and 0 < len(new) == len(entries) - 1:
        del pairs  # frees memory for the new matrix
        files = [check_maps(folder, entry, protocol) for entry in entries]
        pairs = (affinity_matrix(files, memory, progress) if rows is None else rows(files, [], memory, progress))[None]
        new = list(range(len(entries)))
    elif new:
        compare = rows or affinity_rows
        _fill(pairs, folder, protocol, entries, new, memory, lambda fresh, old: compare(fresh, old, memory, progress))
    _check_finite(folder, protocol, pairs[:, new], entries)
    if new:
        cache.store(path, entries, {i: pairs[:, i] for i in (new if len(new) < len(entries) - 1 else range(len(entries)))})
    return pairs[0], None if whole else pairs[1]


def affinity_row(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], index: int, memory: int = DEFAULT_MEMORY,
    progress: Share | None = None, *, keep: bool = True,
) -> Matrix:  # fmt: skip
    """Compute affinities of the model at `index` with all, and errors: float64 [2, entries]; otherwise as `affinities`.

    A row costs one comparison per model, the matrix one per pair. Without `keep` the row is not cached.
    """
    row = cache.load_row(folder / CACHE, entries, index)
    missing = [int(i) for i in np.flatnonzero(np.isnan(row[0]))]
    if missing:
        one = entries[index]
        mapped = [i for i in missing if one.maps is not None and entries[i].maps is not None]
        if mapped:
            files = [check_maps(folder, entries[i], protocol) for i in mapped]
            found = affinity_rows([check_maps(folder, one, protocol)], files, memory, progress)
            row[0, mapped], row[1, mapped] = found[0, :-1], 0.0
        printed = sorted(set(missing) - set(mapped))
        for part in _split_by_memory(printed, protocol, memory):
            many = read_prints(folder, [entries[i].stem for i in part], protocol)
            row[:, part] = np.stack(sketch_affinities(read_prints(folder, [one.stem], protocol), many))[:, 0]
        _check_finite(folder, protocol, row[:, None], entries)
        if keep:
            cache.store(folder / CACHE, entries, {index: row})
    return row


def _check_finite(folder: Path, protocol: Protocol, rows: Matrix, entries: Sequence[CatalogueEntry]) -> None:
    """Raise DamagedFileError where affinities, float64 [2 or 1, rows, entries], are not finite, for the models that are the reason."""
    if np.isfinite(rows).all():
        return
    for entry in entries:
        if entry.maps is not None and not all_finite(map_array(check_maps(folder, entry, protocol), follow=False)):
            raise DamagedFileError(
                f"{folder}: affinities of {entry.name} are not finite, so its maps are damaged. Remove it and add it again.",
                entry.stem,
            )
    raise SpaceError(f"{folder}: affinities are not finite. `onnxspace space verify` names the file that is damaged.")


def _fill(
    pairs: Matrix, folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], new: Sequence[int], memory: int,
    compare: Callable[[Sequence[Path], Sequence[Path]], Matrix],
) -> None:  # fmt: skip
    """Compute the rows `new` of `pairs`, float64 [2 or 1, entries, entries], against all entries."""
    mapped = np.array([entry.maps is not None for entry in entries])
    if mapped.any() and any(mapped[i] for i in new):
        files = [check_maps(folder, e, protocol) if e.maps else None for e in entries]
        _fill_from_maps(pairs, files, new, compare)
    if not mapped.all():
        _fill_from_prints(pairs, folder, protocol, entries, new, memory)
    for plane, own in zip(pairs, (1.0, 0.0), strict=False):
        plane[new, new] = own


def _fill_from_maps(
    pairs: Matrix, files: Sequence[Path | None], new: Sequence[int],
    compare: Callable[[Sequence[Path], Sequence[Path]], Matrix],
) -> None:  # fmt: skip
    fresh = [i for i in new if files[i] is not None]
    old = [i for i, path in enumerate(files) if path is not None and i not in set(fresh)]
    order = [*old, *fresh]
    rows = compare([p for i in fresh if (p := files[i])], [p for i in old if (p := files[i])])
    for index, row in zip(fresh, rows, strict=True):
        pairs[0, index, order] = pairs[0, order, index] = row
        pairs[1:, index, order] = pairs[1:, order, index] = 0.0


def _fill_from_prints(
    pairs: Matrix, folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], new: Sequence[int], memory: int
) -> None:
    """Fill in the pairs of which one model has no maps, from fingerprints, in parts that fit in `memory`."""
    mapped = np.array([entry.maps is not None for entry in entries])
    for some in _split_by_memory(new, protocol, memory // 2):
        rows = read_prints(folder, [entries[i].stem for i in some], protocol)
        for part in _split_by_memory(range(len(entries)), protocol, memory // 2):
            found = np.stack(sketch_affinities(rows, read_prints(folder, [entries[i].stem for i in part], protocol)))
            for index, values in zip(some, np.moveaxis(found, 1, 0), strict=True):
                kept = np.flatnonzero(~mapped[part] | ~mapped[index])
                others = np.array(part)[kept]
                pairs[:, index, others] = pairs[:, others, index] = values[:, kept]


def _split_by_memory(items: Sequence[int], protocol: Protocol, memory: int) -> Iterator[list[int]]:
    """Split models into parts whose fingerprints fit in `memory` bytes, at 12 bytes per number."""
    step = max(1, memory // (12 * protocol.images * protocol.numbers))
    for first in range(0, len(items), step):
        yield list(items[first : first + step])


def certainties(
    folder: Path,
    protocol: Protocol,
    entries: Sequence[CatalogueEntry],
    rankings: Sequence[Ranking],
    memory: int = DEFAULT_MEMORY,
) -> Iterator[Certainty]:
    """Estimate the certainty of each of `rankings`, from maps where target and source have them, else from fingerprints.

    `memory` bounds the bytes that are held at once. Raises SpaceError where the rankings are not of these `entries`, because
    models were added or removed.
    """
    names = {entry.name: place for place, entry in enumerate(entries)}
    for ranking in rankings:
        if {ranking.target, *(name for name, _ in ranking.sources)} != set(names):
            raise SpaceError(f"Models were added to or removed from {folder} in the meantime. Run the command again.")
    maps = [None if entry.maps is None else check_maps(folder, entry, protocol) for entry in entries]
    known = read_per_image(
        [names[ranking.target] for ranking in rankings],
        maps,
        lambda i: read_prints(folder, [entries[i].stem], protocol)[0],
        memory,
    )
    for ranking, one in zip(rankings, known, strict=True):
        yield estimate_certainty(ranking, list(names), one)
