"""Features a stretch of images at a time, made float64, centred and scaled on the way, and kernels between stretches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, blocks, column_mean, column_spread, inverse, unit_rows

#: The median distance is taken over the pairs of at most so many images, evenly spaced.
_MEDIAN_OF = 2000


class Rows:
    """`rows[slice]` are images' features as float64 [stretch, dimensions], less their mean, divided by `scale`, of unit length."""

    def __init__(self, values: NDArray[Any], centre: bool = True, scale: bool = False, unit: bool = False) -> None:
        self._values = values
        self.images, self.width = values.shape
        mean = column_mean(values)
        self._mean = mean if centre else None
        self._scale = inverse(column_spread(values, mean)) if scale else None
        self._unit = unit

    @property
    def blocks(self) -> list[slice]:
        return list(blocks(self.images, self.width))

    def __getitem__(self, rows: slice) -> Array:
        found: Array = self._values[rows].astype(np.float64)
        if self._mean is not None:
            found -= self._mean
        if self._scale is not None:
            found *= self._scale
        return unit_rows(found) if self._unit else found

    def products(self, left: slice, right: slice) -> Array:
        """⟨x_i, x_j⟩: float64 [left, right]."""
        first = self[left]
        found: Array = first @ (first if left == right else self[right]).T
        return found

    def squares(self, left: slice, right: slice) -> Array:
        """|x_i − x_j|²: float64 [left, right], exactly 0 on the diagonal."""
        first = self[left]
        second = first if left == right else self[right]
        found: Array = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * (first @ second.T)
        np.maximum(found, 0.0, out=found)
        if left == right:
            np.fill_diagonal(found, 0.0)
        return found


def gaussian(rows: Rows, width: float) -> Callable[[slice, slice], Array]:
    """exp(−d²/2s²), s being `width` times the median distance."""
    scale = 2 * width**2 * median_square(rows)
    return lambda left, right: np.exp(-rows.squares(left, right) / scale)


def laplacian(rows: Rows, width: float) -> Callable[[slice, slice], Array]:
    """exp(−d/s), s being `width` times the median distance, d Euclidean."""
    scale = width * np.sqrt(median_square(rows))
    return lambda left, right: np.exp(-np.sqrt(rows.squares(left, right)) / scale)


def median_square(rows: Rows) -> float:
    """The median squared distance of two images, over all pairs of up to 2,000 of them. Raises ConfigError where it is 0."""
    step = -(-rows.images // _MEDIAN_OF)
    some = slice(0, rows.images, step)
    distances = rows.squares(some, some)
    found = float(np.median(distances[np.triu_indices(len(distances), 1)]))
    if not found > 0:
        raise ConfigError("More than half of the pairs of images have the same features, so a kernel has no width to take.")
    return found
