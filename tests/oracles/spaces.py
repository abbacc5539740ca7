"""Slow twins of the comparing tower, in float64 and one thing at a time: cosines, count sketches, resampling, settling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_MASK = 2**64 - 1


def cosine(a: Array, b: Array) -> float:
    length = float(np.sqrt(np.sum(a * a)) * np.sqrt(np.sum(b * b)))
    return float(np.sum(a * b)) / length if length else 0.0


def cosines(left: Sequence[NDArray[np.float16]], right: Sequence[NDArray[np.float16]]) -> Array:
    """[images, left, right] from maps [images, pixels] of each model, one pair and one image at a time."""
    wide = [[maps.astype(np.float64) for maps in side] for side in (left, right)]
    return np.array([[[cosine(a[n], b[n]) for b in wide[1]] for a in wide[0]] for n in range(len(left[0]))])


def sketch(row: NDArray[np.float16], numbers: int, image: int, seed: int) -> Array:
    """The count sketch of one map with SplitMix64 in whole numbers: place and sign of each pixel from 31 bits of its hash."""
    key = _mix((_mix((seed + _GOLDEN) & _MASK) + image + _GOLDEN) & _MASK)
    found = np.zeros(numbers)
    for pixel, value in enumerate(row.astype(np.float64), 1):
        bits = _hash((pixel * _GOLDEN + key) & _MASK) >> 33
        found[(bits >> 1) * numbers >> 30] += -value if bits & 1 else value
    return found


_GOLDEN = 0x9E3779B97F4A7C15


def _hash(z: int) -> int:
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    return ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK


def _mix(z: int) -> int:
    z = _hash(z)
    return z ^ z >> 31


def settled(cosines: Array, order: Sequence[int]) -> int:
    """By definition, for one target's cosines [images, models]: look back from the end for a source behind the next."""
    means = [cosines[:n].mean(axis=0) for n in range(1, len(cosines) + 1)]
    n = len(means)
    while n > 1 and all(means[n - 2][a] >= means[n - 2][b] - 1e-5 for a, b in pairwise(order)):
        n -= 1
    return n


def ahead(drawn: Array, target: int, a: int, b: int) -> float:
    """The share of resampled rows [resamples, models] in which a is ahead of b, a tie one half."""
    return float(np.mean([1.0 if row[a] > row[b] else 0.5 if row[a] == row[b] else 0.0 for row in drawn]))
