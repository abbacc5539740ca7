"""PARC: whether the features of images of the same class are more similar than those of different classes.

Bolya et al., "Scalable Diverse Model Selection for Accessible Transfer Learning" (NeurIPS 2021).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, column_mean, column_spread, reciprocal_or_zero, unit_rows
from onnxspace.scores.prepared import Prepared, class_slices, prepare
from onnxspace.scores.rdm import pair_products, spearman, spearman_with_split

Ties = Literal["exact", "rounded"]


def parc(features: ArrayLike | Prepared, labels: ArrayLike | None = None, ties: Ties = "exact") -> float:
    """Return 100 · Spearman of 1 − Pearson between images' features and between their one-hot labels, larger is better.

    The range is −100 to 100. `features` [images, dimensions] have two dimensions or more and at most 20,000 images; each
    dimension is standardised first. `labels` [images] of classes, at least one of them with two images. All pairs within
    classes are tied, and so are all pairs between classes: `ties="exact"` gives tied pairs their mean rank. `ties="rounded"`
    lets the rounding of `numpy.corrcoef` order them, as published code does; that value depends on the processor and on the
    names of the classes (by six points on the iris data). Raises ConfigError for another value of `ties`, for features of one
    dimension, and where no two images share a class.

    >>> round(parc([[2.0, 0, 1], [1, 0, 1], [0, 2, 0], [0, 1, 1]], ["cat", "cat", "dog", "dog"]), 1)
    82.8
    """
    ready = prepare(features, labels, "classes")
    if ties not in get_args(Ties):
        raise ConfigError(f"PARC's ties are {ties!r} but must be one of {', '.join(get_args(Ties))}.")
    if ready.width < 2 or ready.labels.counts.max() < 2:
        raise ConfigError("PARC needs features of two dimensions or more, and a class with two images.")
    images = _standardise_images(ready.features)
    if ties == "rounded":  # rounding also depends on the position of an image
        given = np.argsort(ready.order)
        return 100 * spearman(1 - pair_products(images[given]), _rounded_label_distances(ready.labels.columns[given]))
    values = 1 - pair_products(images)
    return 100 * spearman_with_split(values, values[_same_class_pairs(ready.index)])


def _standardise_images(features: Array) -> Array:
    """Each image's standardised features, centred over dimensions and of unit length: products are Pearson correlations."""
    mean = column_mean(features)
    rows = (features - mean) * reciprocal_or_zero(column_spread(features, mean))
    return unit_rows(rows - rows.mean(axis=1, keepdims=True))


def _same_class_pairs(index: Index) -> Index:
    """Positions, among all pairs, of the pairs within one class, for a sorted `index`."""
    count = len(index)
    starts = np.arange(count) * (2 * count - np.arange(count) - 1) // 2
    ends = [rows.stop for rows in class_slices(index) for _ in range(rows.stop - rows.start)]
    parts = [np.arange(start, start + end - row - 1) for row, (start, end) in enumerate(zip(starts, ends, strict=True))]
    return np.concatenate(parts)


def _rounded_label_distances(columns: Array) -> Array:
    found: Array = np.asarray(1 - np.corrcoef(columns))[np.triu_indices(len(columns), 1)]
    return found
