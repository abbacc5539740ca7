"""Labelled images of one origin, and their split into disjoint parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 32
TRAIN, TEST, SOURCE = 300, 600, 5000
#: Where the groups of the second and third part begin, on a line from 0 to 1; the latter where no network learns the task.
BOUNDS, UNLEARNED = (0.55, 0.72), (0.0, 0.34)

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pool:
    """Images uint8 [n, 32, 32, 3] with labels int64 [n]; images of one group (a font, a place, an emoji) stay together."""

    images: Pixels
    labels: Labels
    groups: Sequence[str]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """Images and labels of one part."""

    images: Pixels
    labels: Labels


@dataclass(frozen=True, eq=False)
class Split:
    """`source` is what networks for the task are trained on, `train` the 300 images of the target, `test` what judges."""

    source: Part
    train: Part
    test: Part
    classes: tuple[str, ...]


def place_group(group: str, task: str) -> float:
    """A number in 0..1 for a group, from its name alone."""
    return int.from_bytes(hashlib.sha256(f"{task}\0{group}".encode()).digest()[:8], "big") / 2**64


def choose_balanced(labels: Labels, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Up to `count` places, one of each class in turn as long as it lasts; sorted by class."""
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    chosen = order[np.argsort(turn[order], kind="stable")][:count]
    return chosen[np.argsort(labels[chosen], kind="stable")]


def split_pool(
    pool: Pool, task: str, bounds: tuple[float, float] = BOUNDS, sizes: tuple[int, int, int] = (SOURCE, TRAIN, TEST)
) -> Split:
    """Disjoint by group; classes as even as the pool allows; the same pool is always split the same way."""
    at = np.array([place_group(group, task) for group in pool.groups])
    part = np.digitize(at, bounds)
    rng = np.random.default_rng(int(place_group("", task) * 2**32))
    parts = []
    for number, size in enumerate(sizes):
        rows = np.flatnonzero(part == number)
        rows = rows[choose_balanced(pool.labels[rows], size, rng)]
        parts.append(Part(pool.images[rows], pool.labels[rows]))
    return Split(parts[0], parts[1], parts[2], pool.classes)


def shrink(image: Image.Image, size: int = SIZE) -> Pixels:
    """Any picture on white as uint8 [size, size, 3], its longer side filled, the rest white."""
    image = image.convert("RGBA")
    ground = Image.new("RGBA", (max(image.size),) * 2, "white")
    ground.alpha_composite(image, tuple((max(image.size) - side) // 2 for side in image.size))
    return np.asarray(
        ground.convert("RGB").resize(
            (size, size), Image.Resampling.LANCZOS if size < ground.width else Image.Resampling.BICUBIC
        )
    )


def colour_grey(grey: Pixels) -> Pixels:
    """[n, h, w] as RGB."""
    return np.repeat(grey[..., None], 3, axis=-1)
