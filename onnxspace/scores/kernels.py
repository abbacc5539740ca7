"""Features read a block of images at a time, as float64, centred and scaled on the fly, and kernels between blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, column_mean, column_spread, reciprocal_or_zero, split_rows, unit_rows

#: The most images, evenly spaced, over whose pairs the median distance is taken.
_MEDIAN_OF = 2000


class FeatureRows:
    """`rows[slice]` are features of a block of images, float64 [block, dimensions], of `values` [images, dimensions].

    With `centre` the mean over all images is subtracted, with `scale` each dimension is divided by its standard deviation,
    and with `unit` each row is normalised to unit length.
    """

    def __init__(self, values: NDArray[Any], centre: bool = True, scale: bool = False, unit: bool = False) -> None:
        self._values = values
        self.images, self.width = values.shape
        mean = column_mean(values)
        self._mean = mean if centre else None
        self._scale = reciprocal_or_zero(column_spread(values, mean)) if scale else None
        self._unit = unit

    @property
    def blocks(self) -> list[slice]:
        return list(split_rows(self.images, self.width))

    def __getitem__(self, rows: slice) -> Array:
        found: Array = self._values[rows].astype(np.float64)
        if self._mean is not None:
            found -= self._mean
        if self._scale is not None:
            found *= self._scale
        return unit_rows(found) if self._unit else found

    def products(self, left: slice, right: slice) -> Array:
        """Return ⟨x_i, x_j⟩ between two slices of images: float64 [left, right]."""
        first = self[left]
        found: Array = first @ (first if left == right else self[right]).T
        return found

    def squares(self, left: slice, right: slice) -> Array:
        """Return |x_i − x_j|² between two slices of images: float64 [left, right], exactly 0 on the diagonal."""
        first = self[left]
        second = first if left == right else self[right]
        found: Array = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * (first @ second.T)
        np.maximum(found, 0.0, out=found)
        if left == right:
            np.fill_diagonal(found, 0.0)
        return found


def gaussian_kernel(rows: FeatureRows, width: float) -> Callable[[slice, slice], Array]:
    """Return the kernel exp(−d²/2s²), d being the Euclidean distance and s `width` times its median. Raises ConfigError."""
    scale = 2 * width**2 * median_squared_distance(rows)
    return lambda left, right: np.exp(-rows.squares(left, right) / scale)


def laplacian_kernel(rows: FeatureRows, width: float) -> Callable[[slice, slice], Array]:
    """Return the kernel exp(−d/s), d being the Euclidean distance and s `width` times its median. Raises ConfigError."""
    scale = width * np.sqrt(median_squared_distance(rows))
    return lambda left, right: np.exp(-np.sqrt(rows.squares(left, right)) / scale)


def median_squared_distance(rows: FeatureRows) -> float:
    """Return the median squared distance over all pairs of up to 2,000 images. Raises ConfigError where it is 0."""
    step = -(-rows.images // _MEDIAN_OF)
    some = slice(0, rows.images, step)
    distances = rows.squares(some, some)
    found = float(np.median(distances[np.triu_indices(len(distances), 1)]))
    if not found > 0:
        raise ConfigError("More than half of the pairs of images have the same features, so the kernel's width would be 0.")
    return found
