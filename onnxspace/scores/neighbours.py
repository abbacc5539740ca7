"""Nearest neighbours across folds: what the neighbours of an image in other folds say about it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, split_rows

NEIGHBOURS = 5


def find_neighbours(rows: NDArray[Any], folds: Index, neighbours: int = NEIGHBOURS) -> Index:
    """Return the nearest images of other folds for each image, nearest first: intp [images, neighbours].

    `rows` are float [images, dimensions], compared by Euclidean distance; `folds` is the fold of each image, intp [images].
    Equal distances are in the order of the rows. Raises ConfigError where an image has fewer images in other folds.
    """
    least = len(folds) - int(np.bincount(folds).max())
    if least < neighbours:
        raise ConfigError(
            f"Nearest neighbours need {neighbours} different images in other folds, and there are {least}. Give more images."
        )
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    lengths, found = np.square(centred).sum(axis=1), np.empty((len(rows), neighbours), np.intp)
    for part in split_rows(len(rows), max(centred.shape)):
        distances = lengths - 2 * (centred[part] @ centred.T)  # without an image's own length, which only shifts its row
        distances[folds[part][:, None] == folds[None, :]] = np.inf
        near = np.sort(np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours], axis=1)
        order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
        found[part] = np.take_along_axis(near, order, axis=1)
    return found


def vote(classes: Index) -> Index:
    """Return the most frequent class of each row of `classes`, intp [images, neighbours]; the nearest of equally frequent ones.

    >>> vote(np.array([[3, 1, 1], [2, 0, 1]])).tolist()
    [1, 2]
    """
    votes = (classes[:, :, None] == classes[:, None, :]).sum(axis=2)
    winner: Index = np.take_along_axis(classes, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return winner


def mean_of_others(rows: Array, folds: Index) -> Array:
    """Return the mean of `rows`, float64 [images, columns], over all folds but an image's own: float64 [images, columns]."""
    total, found = rows.sum(axis=0), np.empty_like(rows)
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = (total - rows[own].sum(axis=0)) / max(1, len(rows) - int(own.sum()))
    return found
