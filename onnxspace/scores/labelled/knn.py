"""Leave-one-out accuracy of a nearest-neighbour classifier (Cover and Hart 1967)."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, split_rows, unit_rows
from onnxspace.scores.held_out import HeldOut, judge_classes
from onnxspace.scores.prepared import Prepared, prepare

Metric = Literal["euclidean", "cosine"]


def knn(
    features: ArrayLike | Prepared, labels: ArrayLike | None = None, neighbours: int = 5, metric: Metric = "euclidean"
) -> float:
    """Return the leave-one-out accuracy of the vote of the nearest `neighbours`, 0 to 1, larger is better.

    `features` [images, dimensions], `labels` [images] of classes. `metric` is `euclidean` or `cosine` distance. Where votes are
    tied, the tied class with the nearest neighbour wins. Images are compared in blocks. Where `features` are prepared with the
    images' content, an image's identical copies are left out with it. Raises ConfigError for another metric,
    and unless there are more images than neighbours, not counting copies.

    >>> knn([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"], neighbours=1)
    1.0
    """
    return hold_out_neighbours(prepare(features, labels, "classes"), neighbours, metric).mean


def hold_out_neighbours(ready: Prepared, neighbours: int = 5, metric: Metric = "euclidean") -> HeldOut:
    """Return whether each image's class is that of the vote of its neighbours; arguments and errors as in `knn`."""
    if metric not in get_args(Metric):
        raise ConfigError(f"The metric is {metric!r} but must be one of {', '.join(get_args(Metric))}.")
    most = ready.images - int(np.unique(ready.content, return_counts=True)[1].max())
    if not 1 <= neighbours <= most:
        raise ConfigError(
            f"neighbours is {neighbours} but must be from 1 to {most}, as there are {ready.images} images. Give more images."
        )
    rows = unit_rows(ready.x) if metric == "cosine" else ready.centred
    lengths, votes = np.square(rows).sum(axis=1), np.empty(len(rows), np.intp)
    for part in split_rows(len(rows), max(rows.shape)):
        distances = lengths - 2 * (rows[part] @ rows.T)  # without an image's own length, which only shifts its row
        distances[ready.content[part, None] == ready.content] = np.inf
        votes[part] = _vote(distances, ready.index, neighbours)
    return judge_classes(ready, votes)


def _vote(distances: Array, index: Index, neighbours: int) -> Index:
    """The most frequent class among the nearest neighbours: intp [rows]."""
    near = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
    classes = index[np.take_along_axis(near, order, axis=1)]
    votes = (classes[:, :, None] == classes[:, None, :]).sum(axis=2)
    winner: Index = np.take_along_axis(classes, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return winner
