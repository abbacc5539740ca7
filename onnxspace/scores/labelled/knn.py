"""The accuracy of the nearest neighbours: each image is given the class of those nearest to it, itself left out."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, blocks, unit_rows
from onnxspace.scores.prepared import Prepared, prepare

Metric = Literal["euclidean", "cosine"]


def knn(
    features: ArrayLike | Prepared, labels: ArrayLike | None = None, neighbours: int = 5, metric: Metric = "euclidean"
) -> float:
    """Leave-one-out accuracy of the vote of so many `neighbours`, 0 to 1, larger is better.

    `features` [images, dimensions], `labels` [images] of classes. Where votes are equal, the class of the nearest neighbour among
    those tied wins. Images are compared in blocks. Raises ConfigError where there are not more images than neighbours.
    """
    ready = prepare(features, labels, "classes")
    if metric not in get_args(Metric):
        raise ConfigError(f"The metric is {metric!r} but must be one of {', '.join(get_args(Metric))}.")
    if not 1 <= neighbours < ready.images:
        raise ConfigError(f"{neighbours} neighbours of {ready.images} images: there must be at least 1, and fewer than images.")
    rows = unit_rows(ready.x) if metric == "cosine" else ready.centred
    lengths = np.square(rows).sum(axis=1)
    right = 0
    for part in blocks(len(rows), max(rows.shape)):
        distances = lengths - 2 * (rows[part] @ rows.T)  # of each image to all: its own length shifts a row as a whole
        distances[np.arange(len(distances)), np.arange(part.start, part.stop)] = np.inf
        right += int(np.count_nonzero(_vote(distances, ready.index, neighbours) == ready.index[part]))
    return right / ready.images


def _vote(distances: Array, index: Index, neighbours: int) -> Index:
    """The class that most of the nearest have: intp [rows]."""
    near = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
    classes = index[np.take_along_axis(near, order, axis=1)]
    votes = (classes[:, :, None] == classes[:, None, :]).sum(axis=2)
    winner: Index = np.take_along_axis(classes, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return winner
