"""DEPARA: alike in what counts in each image (nodes), and in which images are alike (edges).

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
    """S_V + λ S_E, from −(1 + λ) to 1 + λ, larger is better; `weight` is λ ≥ 0, 0.25 as for the paper's Taskonomy probes.

    Maps [images, …] of equal size (gradient × input in the paper) give the nodes, S_V: their mean cosine. Features
    [images, dimensions], whose dimensions may differ, give the edges, S_E: see `edges`. All are of the same images, from 3 to 20,000.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"DEPARA's weight is {weight} but must be a number from 0.")
    if len(np.asanyarray(maps_a)) != len(np.asanyarray(features_a)):
        raise ConfigError("DEPARA's maps and features are of different numbers of images; make both from the same ones.")
    return attribution(maps_a, maps_b) + weight * edges(features_a, features_b, centre)


def edges(features_a: ArrayLike, features_b: ArrayLike, centre: bool = True) -> float:
    """Spearman's correlation of the cosines of all pairs of images, −1 to 1, larger is better.

    Features [images, dimensions], later axes flattened. `centre` takes each dimension's mean over the images away, as for the choice
    of a model; for the choice of a layer the paper does not.
    """
    cosines = [pair_products(_unit_features(np.asarray(values, np.float64), centre)) for values in as_table_pair(features_a, features_b)]
    return spearman(cosines[0], cosines[1])


def _unit_features(values: Array, centre: bool) -> Array:
    return unit_rows(values - column_mean(values) if centre else values)
