"""Affinities between the models of a space: from maps where both have them, from fingerprints elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.countsketch import affinities as print_affinities
from onnxspace.distance import DEFAULT_MEMORY, affinity_rows
from onnxspace.errors import SpaceError
from onnxspace.spaces import cache
from onnxspace.spaces.facts import Entry, Made
from onnxspace.spaces.files import CACHE, checked_maps, open_prints

Share = Callable[[float], None]
Matrix = NDArray[np.float64]


def affinities(
    folder: Path, made: Made, entries: Sequence[Entry], memory: int = DEFAULT_MEMORY, progress: Share | None = None
) -> tuple[Matrix, Matrix]:
    """Affinities and their standard errors, both float64 [entries, entries]; only rows that are not cached are computed.

    `memory` bounds the bytes that are read at once; `progress` gets the share that is done. Raises SpaceError for a file that
    is missing or damaged.
    """
    path = folder / CACHE
    pairs = cache.load(path, entries)
    new = [i for i in range(len(entries)) if np.isnan(pairs[0, i, :i]).any()]
    if new:
        fill(pairs, folder, made, entries, new, memory, progress)
        cache.store(path, entries, pairs, new if len(new) < len(entries) - 1 else range(len(entries)))
    return pairs[0], pairs[1]


def fill(
    pairs: Matrix, folder: Path, made: Made, entries: Sequence[Entry], new: Sequence[int], memory: int,
    progress: Share | None = None,
) -> None:  # fmt: skip
    """Compute the rows `new` of `pairs`, float64 [2, entries, entries], against all entries."""
    mapped = np.array([entry.maps is not None for entry in entries])
    if mapped.any() and any(mapped[i] for i in new):
        _fill_from_maps(pairs, [checked_maps(folder, e, made) if e.maps else None for e in entries], new, memory, progress)
    if not mapped.all():
        _fill_from_prints(pairs, folder, made, entries, new, mapped)
    for index in new:
        if not np.isfinite(pairs[:, index]).all():
            raise SpaceError(
                f"{folder}: affinities of {entries[index].name} are not finite, so a file is damaged. "
                "`onnxspace space verify` names it."
            )
        pairs[:, index, index] = 1.0, 0.0


def _fill_from_maps(
    pairs: Matrix, files: Sequence[Path | None], new: Sequence[int], memory: int, progress: Share | None
) -> None:
    fresh = [i for i in new if files[i] is not None]
    old = [i for i, path in enumerate(files) if path is not None and i not in set(fresh)]
    order = [*old, *fresh]
    rows = affinity_rows([p for i in fresh if (p := files[i])], [p for i in old if (p := files[i])], memory, progress)
    for index, row in zip(fresh, rows, strict=True):
        pairs[0, index, order] = pairs[0, order, index] = row
        pairs[1, index, order] = pairs[1, order, index] = 0.0


def _fill_from_prints(
    pairs: Matrix, folder: Path, made: Made, entries: Sequence[Entry], new: Sequence[int], mapped: NDArray[np.bool_]
) -> None:
    """The pairs of which one has no maps, from fingerprints of all."""
    prints = np.stack([open_prints(folder, entry, made) for entry in entries])
    found = np.stack(print_affinities(prints[list(new)], prints))
    for index, rows in zip(new, np.moveaxis(found, 1, 0), strict=True):
        others = np.flatnonzero(~mapped | ~mapped[index])
        pairs[:, index, others] = pairs[:, others, index] = rows[:, others]
