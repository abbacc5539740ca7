"""Folds of images for cross-validation, by the images' content: the same whatever files are called and however they are sorted.

Folds by position would train on some classes and test on the others where images are sorted by class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
#: Folds of a cross-validation: each readout is trained on three quarters of the images.
FOLDS = 4
_SEED = 0


def hash_images(images: Iterable[NDArray[Any]]) -> list[bytes]:
    """Return the SHA-256 digest of each image's bytes.

    `images` are arrays of any shape and type, such as the rows of uint8 [images, height, width, 3].

    >>> len(hash_images(np.zeros((2, 4, 4, 3), np.uint8))[0])
    32
    """
    return [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]


def order_by_content(hashes: Sequence[bytes]) -> Index:
    """Return the rank of each image by its digest, intp [images], from 0.

    Identical images share a rank, so that a stable sort by rank keeps them in the order of their positions. Ranks are without
    gaps: the largest is the number of different images less one.

    >>> order_by_content([b"b", b"a", b"b", b"c"]).tolist()
    [1, 0, 1, 2]
    """
    ranks = {digest: rank for rank, digest in enumerate(sorted(set(hashes)))}
    return np.array([ranks[digest] for digest in hashes], np.intp)


def assign_folds(order: Index, folds: int) -> Index:
    """Return the fold of each image, intp [images]: its rank modulo `folds`, so that identical images are in the same fold.

    `order` holds ranks as `order_by_content` returns them. With fewer different images than `folds`, some folds are empty.

    >>> assign_folds(np.array([1, 0, 1, 2]), 2).tolist()
    [1, 0, 1, 0]
    """
    found: Index = np.asarray(order, np.intp) % folds
    return found


def draw_folds(images: int, folds: int = FOLDS) -> Index:
    """Return folds for `images` arrays without known content, intp [images]: ranks are a fixed random permutation of positions.

    The same number of images always gets the same folds.
    """
    return assign_folds(np.random.default_rng(_SEED).permutation(images), folds)
