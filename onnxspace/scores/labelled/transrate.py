"""TransRate: the coding rate of all features minus the mean coding rate of the classes.

Huang et al., "Frustratingly Easy Transferability Estimation" (ICML 2022). Classes have equal weights, as in the authors' code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array
from onnxspace.scores.prepared import Prepared, class_slices, prepare


def transrate(
    features: ArrayLike | Prepared, labels: ArrayLike | None = None, epsilon: float = 1e-4, weighted: bool = False
) -> float:
    """Return R(Z) − Σ_c w_c R(Z_c) in nats, with R = ½ ln det(I + ZᵀZ / (n ε)); any real number, larger is better.

    `features` [images, dimensions] (centred here), `labels` [images] of classes; `epsilon`, above 0, is the distortion, so the
    scale of the features matters. The weights w_c are equal, or the classes' shares of the images where `weighted`. Raises
    ConfigError for another epsilon, and as `prepare`.

    >>> round(transrate([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    0.053
    """
    ready = prepare(features, labels, "classes")
    if not epsilon > 0:
        raise ConfigError(f"TransRate's epsilon is {epsilon} but must be above 0.")
    parts = np.array(
        [_coding_rate(_gram(ready.centred[rows]), rows.stop - rows.start, epsilon) for rows in class_slices(ready.index)]
    )
    weights = ready.labels.counts / ready.images if weighted else np.full(len(parts), 1 / len(parts))
    return float(_coding_rate(ready.gram, ready.images, epsilon) - weights @ parts)


def _gram(rows: Array) -> Array:
    """The smaller of ZᵀZ and ZZᵀ, which give the same determinant."""
    return rows.T @ rows if rows.shape[1] <= len(rows) else rows @ rows.T


def _coding_rate(gram: Array, images: int, epsilon: float) -> float:
    shifted = gram / (images * epsilon)
    shifted.flat[:: len(shifted) + 1] += 1.0
    return float(np.log(np.diagonal(np.linalg.cholesky(shifted))).sum())
