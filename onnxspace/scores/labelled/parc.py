"""PARC: whether images of one class are more alike to the model than images of two.

Bolya et al., "Scalable Diverse Model Selection for Accessible Transfer Learning" (NeurIPS 2021).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, column_mean, column_spread, inverse, unit_rows
from onnxspace.scores.prepared import Prepared, class_slices, prepare
from onnxspace.scores.rdm import pair_products, spearman, spearman_with_split

Ties = Literal["exact", "rounded"]


def parc(features: ArrayLike | Prepared, labels: ArrayLike | None = None, ties: Ties = "exact") -> float:
    """100 · Spearman of 1 − Pearson between images' features and between their one-hot labels: −100 to 100, larger is better.

    `features` [images, dimensions], two dimensions or more and at most 20,000 images; each dimension is standardised first.
    `labels` [images] of classes, at least one of them with two images. All pairs within classes are tied, and so are all pairs
    between them: `ties="exact"` gives each tied pair the mean of their ranks. `ties="rounded"` lets the rounding of
    `numpy.corrcoef` order them, as published code does; that value depends on the processor and on the names of the classes
    (by six points on the iris data). Raises ConfigError for another word, or where no two images share a class.

    >>> round(parc([[2.0, 0, 1], [1, 0, 1], [0, 2, 0], [0, 1, 1]], ["cat", "cat", "dog", "dog"]), 1)
    82.8
    """
    ready = prepare(features, labels, "classes")
    if ties not in get_args(Ties):
        raise ConfigError(f"PARC's ties are {ties!r} but must be one of {', '.join(get_args(Ties))}.")
    if ready.width < 2 or ready.labels.counts.max() < 2:
        raise ConfigError("PARC needs features of two dimensions or more, and a class with two images.")
    images = _images(ready.features)
    if ties == "rounded":  # rounding depends on the place of an image, too
        given = np.argsort(ready.order)
        return 100 * spearman(1 - pair_products(images[given]), _rounded(ready.labels.columns[given]))
    values = 1 - pair_products(images)
    return 100 * spearman_with_split(values, values[_same(ready.index)])


def _images(features: Array) -> Array:
    """Each image's standardised features, centred over the dimensions and of unit length: their products are Pearson's."""
    mean = column_mean(features)
    rows = (features - mean) * inverse(column_spread(features, mean))
    return unit_rows(rows - rows.mean(axis=1, keepdims=True))


def _same(index: Index) -> Index:
    """Places of the pairs of one class among all pairs, for an index that never falls."""
    count = len(index)
    starts = np.arange(count) * (2 * count - np.arange(count) - 1) // 2
    ends = [rows.stop for rows in class_slices(index) for _ in range(rows.stop - rows.start)]
    parts = [np.arange(start, start + end - row - 1) for row, (start, end) in enumerate(zip(starts, ends, strict=True))]
    return np.concatenate(parts)


def _rounded(columns: Array) -> Array:
    found: Array = np.asarray(1 - np.corrcoef(columns))[np.triu_indices(len(columns), 1)]
    return found
