"""DEPARA: similarity of attribution maps of each image (nodes), and of the similarities between images (edges).

Song et al., "DEPARA: Deep Attribution Graph for Deep Knowledge Transferability" (CVPR 2020).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, as_table_pair, column_mean, unit_rows
from onnxspace.scores.pairs.attribution import attribution
from onnxspace.scores.rdm import pair_products, spearman


def depara(
    maps_a: ArrayLike,
    maps_b: ArrayLike,
    features_a: ArrayLike,
    features_b: ArrayLike,
    weight: float = 0.25,
    centre: bool = True,
) -> float:
    """Return S_V + λ S_E, from −(1 + λ) to 1 + λ, larger is better; `weight` is λ ≥ 0, 0.25 as for Taskonomy in the paper.

    `maps_a` and `maps_b` [images, …] of equal size (gradient × input in the paper) give the nodes, S_V, their mean cosine.
    `features_a` and `features_b` [images, dimensions], whose dimensions may differ, give the edges, S_E; see `edges`, also for
    `centre`. All are of the same images, from 3 to 20,000. Raises ConfigError where images differ, and for a weight below 0.

    >>> maps, features = [[1.0, 0], [0, 1], [1, 1]], [[1.0, 0], [0, 2], [1, 1]]
    >>> round(depara(maps, maps, features, features), 3)
    1.25
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"DEPARA's weight is {weight} but must be a number of at least 0.")
    if len(np.asanyarray(maps_a)) != len(np.asanyarray(features_a)):
        raise ConfigError("DEPARA's maps and features are of different numbers of images; make both from the same ones.")
    return attribution(maps_a, maps_b) + weight * edges(features_a, features_b, centre)


def edges(features_a: ArrayLike, features_b: ArrayLike, centre: bool = True) -> float:
    """Return Spearman's correlation of the cosines of all pairs of images, −1 to 1, larger is better.

    `features_a` and `features_b` [images, dimensions] have later axes flattened. `centre` subtracts each dimension's mean over
    the images, as the paper does to select a model, but not to select a layer. Raises ConfigError for fewer than 3 or more
    than 20,000 images, and where all pairs are equally similar.
    """
    cosines = [
        pair_products(_unit_features(np.asarray(values, np.float64), centre))
        for values in as_table_pair(features_a, features_b)
    ]
    return spearman(cosines[0], cosines[1])


def _unit_features(values: Array, centre: bool) -> Array:
    return unit_rows(values - column_mean(values) if centre else values)
