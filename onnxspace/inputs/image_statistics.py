"""Statistics of images that need no network, and distances between sets of images by them.

Of each image: moments of its colours, its power by spatial frequency, and how its edges are oriented. Sets are compared by the
energy distance of these numbers (Székely and Rizzo 2013), each divided by its standard deviation within the sets, so that neither
the number of images nor a unit decides. `benchmarks/probe_sets.py` says how often pictures are assigned to their own domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: The side in pixels at which images are described, and the most images of a set, spread evenly over it.
SIDE, MOST_DESCRIBED = 64, 512
_RINGS, _ANGLES, _AT_ONCE = 10, 8, 64
#: Brightness, and two differences of colours.
_OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
#: Numbers per image.
NUMBERS = 9 + _RINGS + _ANGLES + 1


def describe_images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the statistics of images, uint8 [images, size, size, bands]: float32 [images, numbers].

    Of more than 512 images, 512 are described; of more than three bands the first three, and of fewer the first.

    >>> describe_images(np.zeros((2, 80, 80, 3), np.uint8)).shape
    (2, 28)
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_DESCRIBED)).round().astype(int))
    parts = [_describe(images[chosen[first : first + _AT_ONCE]]) for first in range(0, len(chosen), _AT_ONCE)]
    return np.concatenate(parts).astype(np.float32)


def _describe(images: NDArray[np.uint8]) -> Array:
    bands = images[..., :3] if images.shape[-1] >= 3 else np.repeat(images[..., :1], 3, axis=-1)
    pixels = _shrink(bands.astype(np.float64) / 255) @ _OPPONENT.T
    grey = pixels[..., 0]
    return np.concatenate([_describe_colors(pixels), _describe_spectrum(grey), _describe_edges(grey)], axis=1)


def _describe_colors(pixels: Array) -> Array:
    """Mean, deviation and third moment of each opponent colour, [images, 9]."""
    flat = pixels.reshape(len(pixels), -1, 3)
    mean, deviation = flat.mean(1), flat.std(1)
    third = np.cbrt(((flat - mean[:, None]) ** 3).mean(1))
    return np.concatenate([mean, deviation, third], axis=1)


def _describe_spectrum(grey: Array) -> Array:
    """The logarithm of the power in rings of spatial frequency, of equal width in octaves, [images, rings]."""
    window = np.hanning(SIDE)[:, None] * np.hanning(SIDE)
    power = np.abs(np.fft.rfft2((grey - grey.mean((1, 2), keepdims=True)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)) * SIDE
    ring = np.searchsorted(np.geomspace(1, SIDE / 2, _RINGS + 1), radius, "right") - 1
    rings = np.minimum(ring, _RINGS - 1)
    return np.stack([np.log10(power[:, rings == k].mean(1) + 1e-4) for k in range(_RINGS)], axis=1)


def _describe_edges(grey: Array) -> Array:
    """The shares of edges by their orientation, weighted by strength, and the logarithm of their mean strength, [images, 9]."""
    down, right = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, right)
    bins = ((np.arctan2(down, right) / np.pi * _ANGLES + 0.5) % _ANGLES).astype(int) % _ANGLES
    shares = np.stack([np.where(bins == k, strength, 0.0).sum((1, 2)) for k in range(_ANGLES)], axis=1)
    return np.concatenate(
        [shares / (shares.sum(1, keepdims=True) + 1e-9), np.log10(strength.mean((1, 2)) + 1e-3)[:, None]], axis=1
    )


def _shrink(images: Array) -> Array:
    """Images, [images, size, size, …], at 64 × 64 pixels: means over areas, or, of smaller ones, the nearest pixels."""
    return np.moveaxis(_shrink_axis(np.moveaxis(_shrink_axis(images), 1, 2)), 1, 2)


def _shrink_axis(images: Array) -> Array:
    size = images.shape[1]
    if size < SIDE:
        return images[:, np.arange(SIDE) * size // SIDE]
    edges = np.arange(SIDE + 1) * size // SIDE
    means: Array = np.add.reduceat(images, edges[:-1], axis=1) / np.diff(edges)[:, None, None]
    return means


def rank_sets(pictures: NDArray[np.float32], sets: Mapping[str, NDArray[np.float32]]) -> tuple[tuple[str, float], ...]:
    """Return the names of `sets` and the distance of each to the `pictures`, nearest first; all are statistics of images.

    A distance is the energy distance without the terms of an image with itself, which may be below 0 for sets of one origin.
    """
    scale = find_scale([pictures, *sets.values()])
    found = {name: energy_distance(pictures / scale, one / scale) for name, one in sets.items()}
    return tuple(sorted(found.items(), key=lambda pair: pair[1]))


def find_scale(sets: Sequence[NDArray[np.float32]]) -> Array:
    """Return the standard deviation of each number within the sets, each of which counts the same."""
    within = np.mean([np.var(one, axis=0) for one in sets], axis=0)
    overall = np.var([one.mean(0) for one in sets], axis=0)
    scale: Array = np.sqrt(np.maximum(within, 1e-3 * overall) + 1e-12)
    return scale


def energy_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the energy distance of two samples, [images, numbers] each, by unbiased means over different images.

    >>> round(energy_distance(np.zeros((2, 1)), np.ones((3, 1))), 3)
    2.0
    """
    return 2 * _mean_distance(a, b) - _mean_distance(a) - _mean_distance(b)


def _mean_distance(a: NDArray[np.floating], b: NDArray[np.floating] | None = None) -> float:
    """The mean Euclidean distance between rows, of different rows where `b` is None; 0 for a single row."""
    other, pairs = (a, len(a) * (len(a) - 1)) if b is None else (b, len(a) * len(b))
    squares = (
        (a.astype(float) ** 2).sum(1)[:, None] + (other.astype(float) ** 2).sum(1) - 2 * a.astype(float) @ other.astype(float).T
    )
    if b is None:
        np.fill_diagonal(squares, 0.0)
    return float(np.sqrt(np.maximum(squares, 0)).sum() / max(pairs, 1))
