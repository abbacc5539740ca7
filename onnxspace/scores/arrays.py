"""What every score asks of its arrays, said in one place: shape, finite numbers, float64 inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError

Array = NDArray[np.float64]
Index = NDArray[np.intp]
#: Beyond these, squares and their sums leave float64.
_LARGEST, _SMALLEST = 1e100, 1e-100
#: Rows of at most this many float64 are widened at a time.
_ROOM = 2**20


def table(values: ArrayLike, name: str = "features") -> NDArray[Any]:
    """The array as numbers [images, dimensions], later axes flattened; not copied, not widened, a memory map stays one.

    Raises ConfigError for other kinds of values, fewer than two axes, an empty axis, and numbers that are not finite.
    """
    found = np.asanyarray(values)
    if found.dtype.kind not in "biuf":
        raise ConfigError(f"The {name} are of dtype {found.dtype}, not real numbers; pass an integer or floating array.")
    if found.ndim < 2 or 0 in found.shape:
        raise ConfigError(
            f"The {name} have shape {list(found.shape)}, not [images, dimensions]; reshape them, both at least 1."
        )
    flat, largest = found.reshape(len(found), -1), 0.0
    for rows in blocks(len(flat), flat.shape[1]):
        part = flat[rows]
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ConfigError(f"The {name} hold NaN or infinity, first among the images from {rows.start} on; leave those out.")
        largest = max(largest, float(part.max()), -float(part.min()))
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        raise ConfigError(f"The {name} reach {largest:g}, so that their squares overflow or vanish; scale them to about 1.")
    return flat


def pair(a: ArrayLike, b: ArrayLike, name: str = "features") -> tuple[NDArray[Any], NDArray[Any]]:
    """Two tables of the same images. Raises ConfigError as `table`, and where the numbers of images differ."""
    first, second = table(a, f"first model's {name}"), table(b, f"second model's {name}")
    if len(first) != len(second):
        raise ConfigError(
            f"The two models' {name} are of {len(first)} and {len(second)} images; compare them on the same ones."
        )
    return first, second


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices that cover the rows, each of at most a few MB in float64."""
    step = max(1, min(512, _ROOM // max(width, 1)))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def column_mean(values: NDArray[Any]) -> Array:
    """Mean over the images: float64 [dimensions]."""
    total = np.zeros(values.shape[1])
    for rows in blocks(*values.shape):
        total += values[rows].sum(axis=0, dtype=np.float64)
    return total / len(values)


def column_spread(values: NDArray[Any], mean: Array) -> Array:
    """Standard deviation (biased) over the images: float64 [dimensions], 0 where it is rounding only."""
    total = np.zeros(values.shape[1])
    for rows in blocks(*values.shape):
        total += np.square(values[rows] - mean).sum(axis=0)
    spread = np.sqrt(total / len(values))
    return np.where(spread > 8 * np.finfo(np.float64).eps * np.abs(mean), spread, 0.0)


def inverse(values: Array) -> Array:
    """1/values, and 0 where a value is 0: a dimension that never varies has no direction, so it counts for nothing."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def unit_rows(values: Array) -> Array:
    """Each row over its length; a zero row stays zero, so that its cosine with anything is 0."""
    return values * inverse(np.linalg.norm(values, axis=1))[:, None]
