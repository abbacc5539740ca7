"""Folds of images for cross-validation, assigned by what the images show.

Folds by file name or position would follow whatever sorted the files: class, scene, or date. Images are dealt to folds in the
order of a hash of their pixels instead, which is random and yet the same for every model, every file name and every order.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.inputs.content import hash_images as hash_images
from onnxspace.inputs.content import order_by_content as order_by_content
from onnxspace.scores.arrays import Index as Index

#: Folds of comparisons without labels: each readout is trained on three quarters of the images.
FOLDS = 4


def scatter_positions(images: int) -> Index:
    """Return a fixed pseudo-random order of `images` positions, intp [images], where nothing is known of the content.

    It is that of the SHA-256 of each position's decimal digits, and therefore the same on every platform.

    >>> scatter_positions(5).tolist()
    [2, 3, 4, 1, 0]
    """
    return order_by_content([hashlib.sha256(b"%d" % position).digest() for position in range(images)])


def assign_folds(order: Index, folds: int) -> Index:
    """Return the fold of each image, intp [images] from 0 to `folds` − 1: its place in `order`, intp [images], modulo `folds`.

    Images that share a place, which are identical, share a fold. Gaps in `order` are closed first, so any part of a larger
    order may be passed.

    >>> assign_folds(np.array([7, 0, 9, 0]), 2).tolist()
    [1, 0, 0, 0]
    """
    return np.unique(order, return_inverse=True)[1].reshape(-1).astype(np.intp) % folds


def draw_folds(images: int, folds: int = FOLDS) -> Index:
    """Return folds for `images` arrays of unknown content, intp [images]: those of the order that `scatter_positions` gives.

    >>> draw_folds(8, 2).tolist() == draw_folds(8, 2).tolist()
    True
    """
    return assign_folds(scatter_positions(images), folds)


def assign_balanced_folds(order: Index, labels: ArrayLike, folds: int) -> Index:
    """Return the fold of each image, intp [images] from 0 to `folds` − 1, with even shares of each class in every fold.

    Within a class, images are dealt one by one in their `order`, intp [images]; the next class goes on with the next fold,
    so fold sizes are even too. Classes, which are equal `labels` [images], follow one another by their first image in that
    order: names of classes don't matter. Images that share a place, which are identical, share a fold, also where their
    labels differ.

    >>> assign_balanced_folds(np.arange(6), ["cat", "cat", "cat", "cat", "dog", "dog"], 2).tolist()
    [0, 1, 0, 1, 0, 1]
    """
    contents, content = np.unique(order, return_inverse=True)
    classes, label = np.unique(np.asarray(labels), return_inverse=True)
    content, label = content.reshape(-1), label.reshape(-1)
    first = np.full(len(classes), len(contents))  # the first content of each class
    np.minimum.at(first, label, content)
    owner = np.full(len(contents), len(contents))  # the class that a content is dealt with
    np.minimum.at(owner, content, first[label])
    dealt = np.empty(len(contents), np.intp)
    dealt[np.lexsort((np.arange(len(contents)), owner))] = np.arange(len(contents)) % folds
    return dealt[content]
