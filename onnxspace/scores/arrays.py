"""Checks and arithmetic that all scores share: shapes, finite numbers, and float64 computation in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError

Array = NDArray[np.float64]
Index = NDArray[np.intp]
#: Outside this range, squares and their sums over- or underflow float64.
_LARGEST, _SMALLEST = 1e100, 1e-100
#: The most float64 numbers to which rows are converted at a time.
_ROOM = 2**20


def as_table(values: ArrayLike, name: str = "features") -> NDArray[Any]:
    """Return `values` [images, …] as an array [images, dimensions], later axes flattened, without copying or conversion.

    `name` is used in messages. Raises ConfigError for values that are not real numbers, fewer than two axes, an empty axis,
    numbers that are not finite, and numbers whose squares over- or underflow.
    """
    found = np.asanyarray(values)
    if found.dtype.kind not in "biuf":
        raise ConfigError(f"The {name} are of dtype {found.dtype}, not real numbers; pass an integer or floating array.")
    if found.ndim < 2 or 0 in found.shape:
        raise ConfigError(f"The {name} have shape {list(found.shape)}; reshape them to [images, dimensions], both at least 1.")
    flat, largest = found.reshape(len(found), -1), 0.0
    for rows in split_rows(len(flat), flat.shape[1]):
        part = flat[rows]
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ConfigError(
                f"The {name} contain NaN or infinity, first in image {rows.start} or later; leave out such images."
            )
        largest = max(largest, float(part.max()), -float(part.min()))
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        raise ConfigError(f"The {name} reach {largest:g}, so their squares overflow or vanish; scale them to about 1.")
    return flat


def as_table_pair(a: ArrayLike, b: ArrayLike, name: str = "features") -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two arrays of the same images as tables. Raises ConfigError as `as_table`, and where numbers of images differ."""
    first, second = as_table(a, f"first model's {name}"), as_table(b, f"second model's {name}")
    if len(first) != len(second):
        raise ConfigError(
            f"The two models' {name} are of {len(first)} and {len(second)} images; compare them on the same images."
        )
    return first, second


def split_rows(rows: int, width: int) -> Iterator[slice]:
    """Iterate over slices that cover `rows` rows of `width` numbers, each of a few MB in float64."""
    step = max(1, min(512, _ROOM // max(width, 1)))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def column_mean(values: NDArray[Any]) -> Array:
    """Return the mean of `values` [images, dimensions] over the images: float64 [dimensions]."""
    total = np.zeros(values.shape[1])
    for rows in split_rows(*values.shape):
        total += values[rows].sum(axis=0, dtype=np.float64)
    return total / len(values)


def column_spread(values: NDArray[Any], mean: Array) -> Array:
    """Return the (biased) standard deviation of `values` [images, dimensions]: float64 [dimensions], 0 if only rounding.

    `mean` is that of the columns.
    """
    total = np.zeros(values.shape[1])
    for rows in split_rows(*values.shape):
        total += np.square(values[rows] - mean).sum(axis=0)
    spread = np.sqrt(total / len(values))
    return np.where(spread > 8 * np.finfo(np.float64).eps * np.abs(mean), spread, 0.0)


def reciprocal_or_zero(values: Array) -> Array:
    """Return 1/values, and 0 where a value is 0, so that dimensions that do not vary do not contribute."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def unit_rows(values: Array) -> Array:
    """Divide each row of `values`, float64 [rows, columns], by its length; zero rows stay zero, so their cosines are 0."""
    return values * reciprocal_or_zero(np.linalg.norm(values, axis=1))[:, None]
