"""Short descriptions of the values of a tensor that do not depend on the order of its axes, and how far two of them are apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_QUANTILES, _SKETCH = 15, 8
_LONGEST_AXIS = 2**20
_TINY = 1e-30
#: From here on squares and sums are beyond single precision.
_LARGEST = 1e15


@dataclass(frozen=True)
class Signature:
    """What is kept of a tensor's values, a row per image.

    `quantiles` float64 [images, 15] do not depend on the order of values; `sketch` float64 [images, 8] depends on their places along
    each axis, and not on the order of the axes. `lengths` are root mean squares [images]. `shape` and `dtype` are those of the first
    image, `sides` the sizes of axes with several places in ascending order; `low`, `high` the range over all images and
    `bad` the share of values that are not finite.
    """

    shape: tuple[int, ...]
    dtype: str
    quantiles: Array
    sketch: Array
    lengths: Array
    low: float
    high: float
    bad: float

    @property
    def size(self) -> int:
        """The number of values of an image."""
        return prod(self.shape)

    @property
    def sides(self) -> tuple[int, ...]:
        return tuple(sorted(n for n in self.shape if n > 1))

    @property
    def is_blank(self) -> bool:
        """Whether it can't be told from others: all values are equal, on each image, or there are none."""
        return self.size < 2 or bool((self.quantiles == self.quantiles[:, :1]).all())


def measure_signature(values: Array) -> Signature:
    """The signature of a tensor's values for one image; integers and booleans count as numbers."""
    numbers = values.astype(np.float32) if values.dtype != np.float32 else values
    finite = np.isfinite(numbers)
    bad = 0.0 if finite.all() else float(1 - finite.mean())
    if bad:
        numbers = np.where(finite, numbers, np.float32(0))
    if numbers.size and float(np.abs(numbers).max()) > _LARGEST:
        numbers = numbers.astype(np.float64)
    flat = np.sort(numbers, axis=None)
    places = ((np.arange(_QUANTILES) + 0.5) / _QUANTILES * len(flat)).astype(int)
    length = float(np.sqrt(np.mean(np.square(numbers), dtype=np.float64))) if flat.size else 0.0
    quantiles = flat[places].astype(np.float64) if flat.size else np.zeros(_QUANTILES)
    low, high = (float(flat[0]), float(flat[-1])) if flat.size else (0.0, 0.0)
    sketch = _sketch_axes(numbers)[None]
    return Signature(values.shape, str(values.dtype), quantiles[None], sketch, np.array([length]), low, high, bad)


def _sketch_axes(numbers: Array) -> NDArray[np.float64]:
    """The sum of a projection of the means along each axis, which depends on the axis only by its length."""
    total = np.zeros(_SKETCH)
    axes = [axis for axis, n in enumerate(numbers.shape) if 1 < n <= _LONGEST_AXIS]
    for axis in axes if numbers.size else ():
        means = numbers.mean(axis=tuple(k for k in range(numbers.ndim) if k != axis), dtype=numbers.dtype)
        total += _projection(numbers.shape[axis]) @ means.astype(np.float64)
    return total


@lru_cache(256)
def _projection(length: int) -> NDArray[np.float64]:
    draw = np.random.default_rng(length).standard_normal((_SKETCH, length))
    return np.asarray(draw / np.sqrt(length * _SKETCH))


def join_images(first: Signature, other: Signature) -> Signature:
    """The signature of all images of both."""
    quantiles, sketch = (np.concatenate(pair) for pair in ((first.quantiles, other.quantiles), (first.sketch, other.sketch)))
    lengths = np.concatenate([first.lengths, other.lengths])
    low, high, bad = min(first.low, other.low), max(first.high, other.high), max(first.bad, other.bad)
    return Signature(first.shape, first.dtype, quantiles, sketch, lengths, low, high, bad)


def measure_distance(first: Signature, other: Signature) -> float:
    """How far the distributions of values are apart, relative to their length, at most over images; infinity for other sizes."""
    if first.size != other.size or len(first.lengths) != len(other.lengths):
        return float("inf")
    return _relative_gap(first.quantiles, other.quantiles, first, other)


def measure_order_distance(first: Signature, other: Signature) -> float:
    """How far the values at the places along the axes are apart, relative to their length; 0 where the axes have other lengths."""
    return _relative_gap(first.sketch, other.sketch, first, other) if first.sides == other.sides else 0.0


def _relative_gap(first: Array, other: Array, one: Signature, two: Signature) -> float:
    gaps = np.sqrt(np.mean(np.square(first - other), axis=1))
    return float((gaps / np.maximum(np.maximum(one.lengths, two.lengths), _TINY)).max(initial=0.0))
