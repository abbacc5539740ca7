"""Leave-one-out accuracy of a nearest-neighbour classifier (Cover and Hart 1967)."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, split_rows, unit_rows
from onnxspace.scores.prepared import Prepared, prepare

Metric = Literal["euclidean", "cosine"]


def knn(
    features: ArrayLike | Prepared, labels: ArrayLike | None = None, neighbours: int = 5, metric: Metric = "euclidean"
) -> float:
    """Return the leave-one-out accuracy of the vote of the nearest `neighbours`, 0 to 1, larger is better.

    `features` [images, dimensions], `labels` [images] of classes. `metric` is `euclidean` or `cosine` distance. Where votes are
    tied, the tied class with the nearest neighbour wins. Images are compared in blocks. Raises ConfigError for another metric,
    and unless there are more images than neighbours.

    >>> knn([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"], neighbours=1)
    1.0
    """
    ready = prepare(features, labels, "classes")
    if metric not in get_args(Metric):
        raise ConfigError(f"The metric is {metric!r} but must be one of {', '.join(get_args(Metric))}.")
    if not 1 <= neighbours < ready.images:
        raise ConfigError(
            f"neighbours is {neighbours} but must be from 1 to {ready.images - 1}, as there are {ready.images} images."
        )
    rows = unit_rows(ready.x) if metric == "cosine" else ready.centred
    lengths = np.square(rows).sum(axis=1)
    right = 0
    for part in split_rows(len(rows), max(rows.shape)):
        distances = lengths - 2 * (rows[part] @ rows.T)  # without an image's own length, which only shifts its row
        distances[np.arange(len(distances)), np.arange(part.start, part.stop)] = np.inf
        right += int(np.count_nonzero(_vote(distances, ready.index, neighbours) == ready.index[part]))
    return right / ready.images


def _vote(distances: Array, index: Index, neighbours: int) -> Index:
    """The most frequent class among the nearest neighbours: intp [rows]."""
    near = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
    classes = index[np.take_along_axis(near, order, axis=1)]
    votes = (classes[:, :, None] == classes[:, None, :]).sum(axis=2)
    winner: Index = np.take_along_axis(classes, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return winner
