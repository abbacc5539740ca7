"""Count sketches, the arithmetic of fingerprints: a sketch of each image's map, and affinities of sketches.

The projection is a count sketch (Charikar, Chen and Farach-Colton 2002): each pixel is added, with a sign, to one of k
numbers; number and sign come from a hash of (seed, image, pixel). Products of sketches are unbiased, with variance
(‖x‖²‖y‖² + ⟨x,y⟩² − 2 Σ x²y²) / k: never more than that of a dense random projection, at one addition per pixel. Maps are
float16, whose sums are exact in float64, so that fingerprints have the same bytes on every platform.
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
_STRETCH = 2**18  # numbers of fingerprints that are widened at once


def project(
    unit_maps: NDArray[np.floating[Any]], numbers: int = SKETCH_NUMBERS, first: int = 0, seed: int = 0
) -> NDArray[np.float32]:
    """Sketch `unit_maps`, float [n, pixels], as float32 [n, numbers]; row i uses the hash of the image `first` + i and `seed`.

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
        places = _hash_pixels(maps.shape[1], numbers, seed, first + image)
        sums = np.bincount(places, weights=wide[0], minlength=2 * numbers)
        found[image] = sums[0::2] - sums[1::2]
    return found


def flatten(prints: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Flatten fingerprints, float [models, images, numbers], to rows float32 [models, images · numbers].

    Inner products of the rows are affinities. A row is divided by its own length rather than by √images, its mean length:
    the errors of ⟨s, t⟩, |s| and |t| are correlated, so that the quotient has the error (1 − a²) / √(k·N) where the plain
    mean has √((1 + a²) / (k·N)), and equal fingerprints have affinity 1. Images whose map is zero count as 0, as in the
    affinity.
    """
    wide = np.asarray(prints, dtype=np.float32)
    rows: NDArray[np.float32] = wide.reshape(len(wide), -1) * _row_scales(wide)[:, None].astype(np.float32)
    return rows


def affinities(some: NDArray[np.floating[Any]], many: NDArray[np.float16]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute affinities of `some` fingerprints, float [m, images, numbers], with `many`, float16 [T, images, numbers].

    Returns affinities in [−1, 1] and their standard errors, float64 [m, T] each. `many` may be mapped from a file: it is read
    in parts that fit a core's cache. Raises ConfigError where the numbers of images or numbers per image differ.
    """
    if some.shape[1:] != many.shape[1:]:
        raise ConfigError(
            f"Fingerprints of different shapes can't be compared: {list(some.shape[1:])} and {list(many.shape[1:])}."
        )
    rows, size = flatten(some).T.copy(), int(np.prod(some.shape[1:]))
    found = np.empty((len(some), len(many)))
    step = max(1, min(len(many), _STRETCH // size))
    wide = np.empty((step, *many.shape[1:]), np.float32)
    for first in range(0, len(many), step):
        part = wide[: len(many[first : first + step])]
        flat = part.reshape(len(part), size)
        widen(many[first : first + step].reshape(len(part), size), flat)
        found[:, first : first + step] = (flat @ rows).T * _row_scales(part)
    np.clip(found, -1.0, 1.0, out=found)
    return found, standard_error(found, *many.shape[1:])


def _row_scales(prints: NDArray[np.float32]) -> NDArray[np.float64]:
    """Factors float64 [models] that give each fingerprint the length √(share of images whose map is not zero)."""
    flat = prints.reshape(len(prints), -1)
    length = np.sqrt(np.einsum("ij,ij->i", flat, flat).astype(np.float64))
    share = np.ones(len(prints))
    models, images = np.nonzero(prints[:, :, 0] == 0)  # few, and the only candidates for rows of zeros
    empty = models[~prints[models, images].any(axis=1)]
    share -= np.bincount(empty, minlength=len(prints)) / prints.shape[1]
    scales: NDArray[np.float64] = np.sqrt(share) / np.where(length > 0, length, 1.0)
    return scales


def standard_error(affinity: NDArray[np.floating[Any]], images: int, numbers: int) -> NDArray[np.float64]:
    """Standard errors of affinities a from fingerprints, (1 − a²) / √(numbers · images): float64 of the shape of `affinity`.

    >>> standard_error(np.array([0.0, 1.0]), images=25, numbers=64).tolist()
    [0.025, 0.0]
    """
    found: NDArray[np.float64] = (1.0 - np.square(affinity, dtype=np.float64)) / np.sqrt(numbers * images)
    return found


def _hash_pixels(pixels: int, numbers: int, seed: int, image: int) -> NDArray[np.intp]:
    """For each pixel 2 · (index of its number) + (1 if it is subtracted), from SplitMix64 (Steele, Lea and Flood 2014)."""
    key = _splitmix64(_splitmix64(seed & _MASK) + image)
    state = np.arange(1, pixels + 1, dtype=np.uint64)
    state *= np.uint64(_GOLDEN)
    state += np.uint64(key)
    state ^= state >> np.uint64(30)
    state *= np.uint64(_FIRST)
    state ^= state >> np.uint64(27)
    state *= np.uint64(_SECOND)
    state >>= np.uint64(33)  # the 31 best bits: 30 choose the number, the last one the sign
    sign = state & np.uint64(1)
    state >>= np.uint64(1)
    state *= np.uint64(numbers)
    state >>= np.uint64(30)
    state <<= np.uint64(1)
    state |= sign
    return state.astype(np.intp)


def _splitmix64(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ value >> 30) * _FIRST) & _MASK
    value = ((value ^ value >> 27) * _SECOND) & _MASK
    return value ^ value >> 31


def sketch_matrix(size: int, numbers: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a count sketch as a matrix, float32 [size, numbers], with one ±1 in each row.

    Its hash differs from that of every image.
    """
    places = _hash_pixels(size, numbers, seed, 2**63)
    matrix = np.zeros((size, numbers), np.float32)
    matrix[np.arange(size), places >> 1] = 1 - 2 * (places & 1)
    return matrix
