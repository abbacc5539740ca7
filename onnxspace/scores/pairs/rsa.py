"""RSA: representational similarity analysis, whether two models find the same pairs of images similar.

Dwivedi and Roig, "Representation Similarity Analysis for Efficient Task Taxonomy & Transfer Learning" (CVPR 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, as_table_pair, column_mean, unit_rows
from onnxspace.scores.rdm import pair_products, spearman


def rsa(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Return Spearman's correlation of 1 − Pearson between images, over all pairs: −1 to 1, larger is better.

    `features_a` and `features_b` [images, dimensions] of 3 to 20,000 images have later axes flattened and two dimensions or
    more, which may differ. Each dimension is centred over the images first. An image whose features are then all equal has a
    correlation of 0 with all others. Raises ConfigError for other shapes, and where all pairs are equally similar.

    >>> round(rsa([[2.0, 0], [1, 0], [0, 2], [0, 1]], [[2.0, 0, 1], [1, 0, 1], [0, 2, 0], [0, 1, 1]]), 3)
    0.84
    """
    tables = as_table_pair(features_a, features_b)
    if min(values.shape[1] for values in tables) < 2:
        raise ConfigError("RSA correlates images over their dimensions, so features need at least two dimensions.")
    products = [pair_products(_standardise_images(np.asarray(values, np.float64))) for values in tables]
    return spearman(products[0], products[1])


def _standardise_images(values: Array) -> Array:
    rows = values - column_mean(values)
    return unit_rows(rows - rows.mean(axis=1, keepdims=True))
