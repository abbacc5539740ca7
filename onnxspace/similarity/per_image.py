"""Per-image terms of one target's values: cosines of maps, products of fingerprints, or sums of squares of predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import DEFAULT_MEMORY
from onnxspace.similarity.gram import image_cosines
from onnxspace.similarity.mean_rank import combine_many
from onnxspace.storage.map_file import open_maps

#: Computes weighted means over images: [images, columns] to [draws, columns], both float64.
Weighted = Callable[[NDArray[np.float64]], NDArray[np.float64]]
#: Returns a model's fingerprint, float16 [images, numbers], by its position.
PrintReader = Callable[[int], NDArray[np.float16]]


@dataclass(frozen=True, eq=False)
class PerImageAffinities:
    """Per-image affinities of one target with all models.

    `products`, float32 [images, models], are cosines of maps, or products of fingerprints where `printed` (bool [models]).
    For the latter, `squares` (float32 [images, models]) and `own` (float32 [images]) are the squared lengths of the model's
    fingerprint and of the target's.
    """

    products: NDArray[np.float32]
    printed: NDArray[np.bool_]
    squares: NDArray[np.float32]
    own: NDArray[np.float32]

    @property
    def images(self) -> int:
        return len(self.products)

    def means(self, weighted: Weighted, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute affinities of models `columns`, intp [columns], for `weighted` images: float64 [draws, columns] in [−1, 1].

        Those from fingerprints are quotients of means, as in `onnxspace.similarity.fingerprints.count_sketch.flatten`.
        """
        found = weighted(self.products[:, columns].astype(np.float64))
        printed = self.printed[columns]
        if printed.any():
            found[:, printed] *= _length_scale(weighted, self.own[:, None]) * _length_scale(
                weighted, self.squares[:, columns[printed]]
            )
        return np.clip(found, -1.0, 1.0, out=found)


@dataclass(frozen=True, eq=False)
class PerImageShares:
    """Per-image sums of squares of one target's outputs, float64 [images, models] each.

    `missed` are the residuals of each source's readout, `there` the outputs themselves; both are 0 for a source without
    features. Where answers are classes, `missed` is 1 for each that a source gets wrong, and `there` is 1.
    """

    missed: NDArray[np.float64]
    there: NDArray[np.float64]

    @property
    def images(self) -> int:
        return len(self.missed)

    def means(self, weighted: Weighted, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute R² of the models `columns` for `weighted` images, with fixed readouts: float64 [draws, columns], up to 1."""
        missed, there = (weighted(values[:, columns]) for values in (self.missed, self.there))
        found: NDArray[np.float64] = 1 - missed / np.maximum(there, np.finfo(np.float64).tiny)
        return found


@dataclass(frozen=True, eq=False)
class PerImageRanks:
    """Per-image values of one target by the scores whose ranks are combined, `members`, against all models.

    `ranked`, intp [sources], are the models that are ranked: those with all values, without the target itself.
    """

    members: tuple[PerImageShares, ...]
    ranked: NDArray[np.intp]

    @property
    def images(self) -> int:
        return self.members[0].images

    def means(self, weighted: Weighted, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute turned mean ranks of the models `columns` for `weighted` images: float64 [draws, columns] from 0 to 1.

        Models that are not ranked are NaN.
        """
        combined = combine_many(np.stack([one.means(weighted, self.ranked) for one in self.members]))
        place = {int(model): k for k, model in enumerate(self.ranked)}
        found = np.full((len(combined), len(columns)), np.nan)
        for k, model in enumerate(columns.tolist()):
            if model in place:
                found[:, k] = combined[:, place[model]]
        return found


def _length_scale(weighted: Weighted, squares: NDArray[np.float32]) -> NDArray[np.float64]:
    """Factors that normalise products by one side's length, with images whose map is zero counting as 0: [draws, columns]."""
    mean, share = weighted(squares.astype(np.float64)), weighted((squares > 0).astype(np.float64))
    scale: NDArray[np.float64] = np.sqrt(share / np.where(mean > 0, mean, 1.0))
    return scale


def read_one_target(
    target: int, maps: Sequence[Path | None], prints: PrintReader, memory: int = DEFAULT_MEMORY
) -> PerImageAffinities:
    """Read the per-image affinities of the model at position `target` with all models.

    They come from `maps` (files of unit maps, None where a model has none) where both models have a file, else from `prints`.
    Raises ConfigError where images × models exceeds `memory` bytes, and ProbeError where maps are of different images.
    """
    return next(read_per_image([target], maps, prints, memory))


def read_per_image(
    targets: Sequence[int], maps: Sequence[Path | None], prints: PrintReader, memory: int = DEFAULT_MEMORY
) -> Iterator[PerImageAffinities]:
    """Read as `read_one_target` for several `targets` in turn; maps are read once for all that fit in an eighth of `memory`."""
    files = [path for path in maps if path is not None]
    images = len(open_maps(files[0])) if files else 1
    step = max(1, memory // (32 * images * len(maps)))
    for first in range(0, len(targets), step):
        part = targets[first : first + step]
        own = [path for target in part if (path := maps[target]) is not None]
        cosines = iter(image_cosines(own, files, memory).swapaxes(0, 1) if own else ())
        for target in part:
            yield _per_image_from_cosines(target, maps, prints, None if maps[target] is None else next(cosines))


def _per_image_from_cosines(
    target: int, maps: Sequence[Path | None], prints: PrintReader, cosines: NDArray[np.float32] | None
) -> PerImageAffinities:
    """Combine cosines [images, files] with all models that have a file (None: the target has none) and fingerprints."""
    mapped = np.array([cosines is not None and path is not None for path in maps])
    images = len(prints(target) if cosines is None else cosines)
    squares = np.zeros((images, 0 if mapped.all() else len(maps)), np.float32)
    found = PerImageAffinities(np.zeros((images, len(maps)), np.float32), ~mapped, squares, np.zeros(images, np.float32))
    if cosines is not None:
        found.products[:, mapped] = cosines
    if not mapped.all():
        _multiply(found, target, prints)
    return found


def _multiply(found: PerImageAffinities, target: int, prints: PrintReader) -> None:
    """Fill in the columns of `found` that come from fingerprints, one model at a time."""
    mine = prints(target).astype(np.float32)
    found.own[:] = np.einsum("ij,ij->i", mine, mine)
    for column in np.flatnonzero(found.printed):
        theirs = prints(int(column)).astype(np.float32)
        found.products[:, column] = np.einsum("ij,ij->i", mine, theirs)
        found.squares[:, column] = np.einsum("ij,ij->i", theirs, theirs)
