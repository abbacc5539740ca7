"""What the values of one target are made of, image by image: cosines of maps, products of fingerprints, or shares predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.similarity.gram import DEFAULT_MEMORY, image_cosines
from onnxspace.storage.map_file import open_maps

#: Weighted means over images: [images, columns] to [draws, columns], both float64.
Weighted = Callable[[NDArray[np.float64]], NDArray[np.float64]]
#: A model's fingerprint, float16 [images, numbers], by its position.
Prints = Callable[[int], NDArray[np.float16]]


@dataclass(frozen=True, eq=False)
class PerImageAffinities:
    """One target against all models, float32 [images, models].

    `products` are cosines of maps, or products of fingerprints where the model is `printed` (bool [models]); of those,
    `squares` and `own`, float32 [images], are the squared lengths of the model's fingerprint and of the target's.
    """

    products: NDArray[np.float32]
    printed: NDArray[np.bool_]
    squares: NDArray[np.float32]
    own: NDArray[np.float32]

    @property
    def images(self) -> int:
        return len(self.products)

    def means(self, weighted: Weighted, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Affinities of some models under weighted images, float64 [draws, columns] in [−1, 1].

        Those from fingerprints are quotients of means, as in `onnxspace.similarity.fingerprints.count_sketch.flatten`.
        """
        found = weighted(self.products[:, columns].astype(np.float64))
        printed = self.printed[columns]
        if printed.any():
            found[:, printed] *= _scale(weighted, self.own[:, None]) * _scale(weighted, self.squares[:, columns[printed]])
        return np.clip(found, -1.0, 1.0, out=found)


@dataclass(frozen=True, eq=False)
class PerImageShares:
    """Of one target's outputs, float64 [images, models]: what each source's readout missed, and what there was, as sums of squares.

    Nothing was there of a source that has no features.
    """

    missed: NDArray[np.float64]
    there: NDArray[np.float64]

    @property
    def images(self) -> int:
        return len(self.missed)

    def means(self, weighted: Weighted, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Shares (R²) under weighted images, the readouts being as they are: float64 [draws, columns], up to 1."""
        missed, there = (weighted(values[:, columns]) for values in (self.missed, self.there))
        found: NDArray[np.float64] = 1 - missed / np.maximum(there, np.finfo(np.float64).tiny)
        return found


def _scale(weighted: Weighted, squares: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a product is multiplied by for one side's length, where images without a map count as 0: [draws, columns]."""
    mean, share = weighted(squares.astype(np.float64)), weighted((squares > 0).astype(np.float64))
    scale: NDArray[np.float64] = np.sqrt(share / np.where(mean > 0, mean, 1.0))
    return scale


def read_one_target(
    target: int, maps: Sequence[Path | None], prints: Prints, memory: int = DEFAULT_MEMORY
) -> PerImageAffinities:
    """What is known of the model at position `target` and all models: from `maps` where both have a file, else from `prints`.

    Raises ConfigError where images × models is over `memory`, ProbeError where maps are of other images.
    """
    return next(read_per_image([target], maps, prints, memory))


def read_per_image(
    targets: Sequence[int], maps: Sequence[Path | None], prints: Prints, memory: int = DEFAULT_MEMORY
) -> Iterator[PerImageAffinities]:
    """The same for several targets in turn; maps are read once for as many as an eighth of `memory` has room for."""
    files = [path for path in maps if path is not None]
    images = len(open_maps(files[0])) if files else 1
    step = max(1, memory // (32 * images * len(maps)))
    for first in range(0, len(targets), step):
        part = targets[first : first + step]
        own = [path for target in part if (path := maps[target]) is not None]
        cosines = iter(image_cosines(own, files, memory).swapaxes(0, 1) if own else ())
        for target in part:
            yield _from_cosines(target, maps, prints, None if maps[target] is None else next(cosines))


def _from_cosines(
    target: int, maps: Sequence[Path | None], prints: Prints, cosines: NDArray[np.float32] | None
) -> PerImageAffinities:
    """From cosines [images, files] with all models that have a file, if the target has one."""
    mapped = np.array([cosines is not None and path is not None for path in maps])
    images = len(prints(target) if cosines is None else cosines)
    squares = np.zeros((images, 0 if mapped.all() else len(maps)), np.float32)
    found = PerImageAffinities(np.zeros((images, len(maps)), np.float32), ~mapped, squares, np.zeros(images, np.float32))
    if cosines is not None:
        found.products[:, mapped] = cosines
    if not mapped.all():
        _multiply(found, target, prints)
    return found


def _multiply(found: PerImageAffinities, target: int, prints: Prints) -> None:
    """Fill in the columns of `found` that come from fingerprints, one model at a time."""
    mine = prints(target).astype(np.float32)
    found.own[:] = np.einsum("ij,ij->i", mine, mine)
    for column in np.flatnonzero(found.printed):
        theirs = prints(int(column)).astype(np.float32)
        found.products[:, column] = np.einsum("ij,ij->i", mine, theirs)
        found.squares[:, column] = np.einsum("ij,ij->i", theirs, theirs)
