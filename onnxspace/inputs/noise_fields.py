"""Random numbers, noise fields and waves that are the same bytes on every platform.

Numbers come from an integer hash (SplitMix64); all arithmetic is element-wise float64 that IEEE 754 rounds correctly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MASK = (1 << 64) - 1
_GAMMA, _MIX_A, _MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def key_of(*parts: int) -> int:
    """Fold integers into one 64-bit key (SplitMix64)."""
    key = 0
    for part in parts:
        z = (key + part + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * _MIX_A) & _MASK
        z = ((z ^ (z >> 27)) * _MIX_B) & _MASK
        key = z ^ (z >> 31)
    return key


def hash_integers(key: int, count: int) -> NDArray[np.uint64]:
    """The first `count` values of the SplitMix64 sequence that starts at `key`."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_A)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_B)
    return z ^ (z >> np.uint64(31))


def uniform(key: int, count: int) -> Array:
    """`count` numbers in [0, 1), multiples of 2^-53."""
    return (hash_integers(key, count) >> np.uint64(11)).astype(np.float64) / 9007199254740992.0


def axis(count: int) -> Array:
    """0, 1, ..., count - 1; empty if `count` is negative."""
    return np.arange(count, dtype=np.int64).astype(np.float64)


def direction(turns: float) -> tuple[float, float]:
    """A unit vector (x, y) at an angle of about `turns` full turns, by the rational parametrisation."""
    quarter = 4.0 * (turns - math.floor(turns))
    whole = math.floor(quarter)
    t = quarter - whole
    c, s = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    return ((c, s), (-s, c), (-c, -s), (s, -c))[whole % 4]


def octave(key: int, size: int, cells: float) -> Array:
    """Value noise in -1..1, [size, size], with `cells` lattice cells along a side."""
    side = int(cells) + 3
    lattice = (uniform(key, side * side) * 2.0 - 1.0).reshape(side, side)
    place = axis(size) * (cells / size) + (key & 255) / 256.0
    cell = place.astype(np.int64)
    t = place - cell
    t = t * t * (3.0 - 2.0 * t)
    # Columns first, on the small lattice, so that the large gathers copy whole rows.
    wide = lattice[:, cell] + (lattice[:, cell + 1] - lattice[:, cell]) * t
    noise = (wide[1:] - wide[:-1])[cell]
    noise *= t[:, None]
    noise += wide[cell]
    return noise


def noise(key: int, size: int, keep: float) -> Array:
    """Octaves of value noise of amplitudes 1, keep, keep^2, ...; about unit deviation."""
    field, energy, gain, cells = np.zeros((size, size)), 0.0, 1.0, 1.7
    while cells < 0.6 * size:
        field += octave(key_of(key, int(cells)), size, cells) * gain
        energy += gain * gain
        gain, cells = gain * keep, cells * 2.0
    field *= 2.6 / math.sqrt(energy)
    return field


def cells(key: int, size: int, count: float) -> Array:
    """Voronoi cells of random height with dark gaps, -1..1, [size, size], `count` along a side."""
    side = int(count) + 3
    points = uniform(key, 3 * side * side).reshape(3, side, side)
    place = axis(size) * (count / size) + 0.5
    cell = np.floor(place).astype(np.int64)
    level = np.zeros((size, size))
    near = next_near = np.full((size, size), 9.0)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x, height = (plane[:, cell + dx][cell + dy] for plane in points)
        y += (dy - 0.5) - (place - cell)[:, None]
        x += (dx - 0.5) - (place - cell)
        distance = x * x + y * y
        level = np.where(distance < near, height, level)
        next_near = np.minimum(next_near, np.maximum(near, distance))
        near = np.minimum(near, distance)
    gap = np.minimum((next_near - near) * (0.7 * size / count), 1.0)
    cells: Array = (level + 0.2) * gap * (2.0 / 1.2) - 1.0
    return cells


def ramp(x: Array, y: Array, along_x: float, along_y: float) -> Array:
    """The linear function along_x * x + along_y * y on the grid, [h, w]."""
    ramp: Array = (along_x * x)[None, :] + (along_y * y)[:, None]
    return ramp


def clip(values: Array) -> Array:
    """The values limited to 0..1, as a new array."""
    clipped = np.maximum(values, 0.0)
    return np.minimum(clipped, 1.0, out=clipped)


def triangle(phase: Array) -> Array:
    """The triangle wave of period 1 between -1 and 1."""
    return np.abs(phase - np.floor(phase) - 0.5) * 4.0 - 1.0
