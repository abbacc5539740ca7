"""The arithmetic of fingerprints: a sketch of each image's map, and affinities of sketches.

The projection is a count sketch (Charikar, Chen and Farach-Colton 2002): each pixel is added, with a sign, to one of k
numbers, place and sign from a hash of (seed, image, pixel). Products of sketches are unbiased, with variance
(‖x‖²‖y‖² + ⟨x,y⟩² − 2 Σ x²y²) / k: never more than a dense random projection has, for one addition per pixel. Maps are
float16, whose sums are exact in float64, so that prints have the same bytes on every platform.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.inputs.protocol import MAX_SKETCH_NUMBERS, SKETCH_NUMBERS
from onnxspace.storage.float16 import widen

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1
_STRETCH = 2**18  # numbers of prints that are widened at once


def project(
    unit_maps: NDArray[np.floating[Any]], numbers: int = SKETCH_NUMBERS, first: int = 0, seed: int = 0
) -> NDArray[np.float32]:
    """The sketch of unit maps [n, pixels] as float32 [n, numbers]; row i is drawn for the image `first` + i.

    The mean over images of the products of two models' sketches estimates their affinity a without bias, with standard
    error about √((1 + a²) / (numbers · n)). Maps are rounded to float16 first. Raises ConfigError for `numbers` outside 1 to
    4096.
    """
    if not 1 <= numbers <= MAX_SKETCH_NUMBERS:
        raise ConfigError(f"A fingerprint has 1 to {MAX_SKETCH_NUMBERS} numbers per image, not {numbers}.")
    maps = np.asarray(unit_maps, dtype=np.float16)
    found, wide = np.empty((len(maps), numbers), np.float32), np.empty((1, maps.shape[1]), np.float32)
    for image in range(len(maps)):
        widen(maps[image : image + 1], wide)
        places = _places(maps.shape[1], numbers, seed, first + image)
        sums = np.bincount(places, weights=wide[0], minlength=2 * numbers)
        found[image] = sums[0::2] - sums[1::2]
    return found


def flatten(prints: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Prints [models, images, numbers] as rows float32 [models, images · numbers] whose inner products are affinities.

    A row is divided by its own length rather than by √images, the length it has on average: the errors of ⟨s, t⟩, |s| and
    |t| go together, so that the quotient is off by (1 − a²) / √(k·N) where the plain mean is off by √((1 + a²) / (k·N)), and
    equal prints have affinity 1. Images whose map is zero count as 0, as in the affinity.
    """
    wide = np.asarray(prints, dtype=np.float32)
    rows: NDArray[np.float32] = wide.reshape(len(wide), -1) * _scales(wide)[:, None].astype(np.float32)
    return rows


def affinities(some: NDArray[np.floating[Any]], many: NDArray[np.float16]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Affinities of prints [m, images, numbers] with prints float16 [T, images, numbers], and their standard errors.

    Both float64 [m, T], affinities in [−1, 1]. `many` may be mapped from a file: it is read in stretches that fit a
    core's cache. Raises ConfigError where images or numbers differ.
    """
    if some.shape[1:] != many.shape[1:]:
        raise ConfigError(f"Prints of different shapes can't be compared: {list(some.shape[1:])} and {list(many.shape[1:])}.")
    rows, size = flatten(some).T.copy(), int(np.prod(some.shape[1:]))
    found = np.empty((len(some), len(many)))
    step = max(1, min(len(many), _STRETCH // size))
    wide = np.empty((step, *many.shape[1:]), np.float32)
    for first in range(0, len(many), step):
        part = wide[: len(many[first : first + step])]
        flat = part.reshape(len(part), size)
        widen(many[first : first + step].reshape(len(part), size), flat)
        found[:, first : first + step] = (flat @ rows).T * _scales(part)
    np.clip(found, -1.0, 1.0, out=found)
    return found, standard_error(found, *many.shape[1:])


def _scales(prints: NDArray[np.float32]) -> NDArray[np.float64]:
    """What each of [models, images, numbers] is multiplied by to have the length √(share of images with a map)."""
    flat = prints.reshape(len(prints), -1)
    length = np.sqrt(np.einsum("ij,ij->i", flat, flat).astype(np.float64))
    share = np.ones(len(prints))
    models, images = np.nonzero(prints[:, :, 0] == 0)  # few, and the only ones where all numbers may be 0
    empty = models[~prints[models, images].any(axis=1)]
    share -= np.bincount(empty, minlength=len(prints)) / prints.shape[1]
    scales: NDArray[np.float64] = np.sqrt(share) / np.where(length > 0, length, 1.0)
    return scales


def standard_error(affinity: NDArray[np.floating[Any]], images: int, numbers: int) -> NDArray[np.float64]:
    """One standard deviation of affinities from prints, (1 − a²) / √(numbers · images); of the shape of `affinity`."""
    found: NDArray[np.float64] = (1.0 - np.square(affinity, dtype=np.float64)) / np.sqrt(numbers * images)
    return found


def _places(pixels: int, numbers: int, seed: int, image: int) -> NDArray[np.intp]:
    """For each pixel 2 · (its number) + (1 where it is subtracted), from SplitMix64 (Steele, Lea and Flood 2014)."""
    key = _mixed_number(_mixed_number(seed & _MASK) + image)
    state = np.arange(1, pixels + 1, dtype=np.uint64)
    state *= np.uint64(_GOLDEN)
    state += np.uint64(key)
    state ^= state >> np.uint64(30)
    state *= np.uint64(_FIRST)
    state ^= state >> np.uint64(27)
    state *= np.uint64(_SECOND)
    state >>= np.uint64(33)  # 31 good bits: 30 choose the number, the last the sign
    sign = state & np.uint64(1)
    state >>= np.uint64(1)
    state *= np.uint64(numbers)
    state >>= np.uint64(30)
    state <<= np.uint64(1)
    state |= sign
    return state.astype(np.intp)


def _mixed_number(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ value >> 30) * _FIRST) & _MASK
    value = ((value ^ value >> 27) * _SECOND) & _MASK
    return value ^ value >> 31


def signs(size: int, numbers: int, seed: int = 0) -> NDArray[np.float32]:
    """A count sketch of rows as a matrix float32 [size, numbers], one ±1 in each row; other draws than any image's."""
    places = _places(size, numbers, seed, 2**63)
    matrix = np.zeros((size, numbers), np.float32)
    matrix[np.arange(size), places >> 1] = 1 - 2 * (places & 1)
    return matrix
