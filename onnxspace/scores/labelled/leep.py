"""LEEP: the log likelihood of the labels, predicted from the source classes' probabilities.

Nguyen et al., "LEEP: A New Measure to Evaluate Transferability of Learned Representations" (ICML 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, as_table, reciprocal_or_zero
from onnxspace.scores.labels import read_labels

_OFF = 1e-2


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return mean_n ln Σ_z P(y_n | z) θ_n(z), at most 0, larger is better.

    `probabilities` θ [images, source classes] are those of the source head, with rows that sum to 1 (within 1e-2, to allow for
    half precision); `labels` [images] of classes. Raises ConfigError for other values, such as logits.

    >>> round(leep([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]], ["cat", "cat", "dog", "dog"]), 3)
    -0.343
    """
    theta, classes = as_table(probabilities, "probabilities"), read_labels(labels, "classes")
    if len(theta) != len(classes.kept):
        raise ConfigError(
            f"There are probabilities of {len(theta)} images and labels of {len(classes.kept)}; pass the same images."
        )
    return leep_of_classes(_normalise_rows(theta[classes.kept].astype(np.float64)), classes.index)


def leep_of_classes(theta: Array, index: Index) -> float:
    """Return LEEP of probabilities `theta`, float64 [images, source classes], and each image's class `index`, intp [images]."""
    joint = np.zeros((int(index.max()) + 1, theta.shape[1]))
    np.add.at(joint, index, theta)
    given = joint * reciprocal_or_zero(joint.sum(axis=0))
    value = float(np.log(np.einsum("nz,nz->n", theta, given[index])).mean())
    return min(value, 0.0)  # rows may sum to 1 + 2⁻⁵²


def _normalise_rows(theta: Array) -> Array:
    """Normalise rows in place to a sum of 1. Raises ConfigError where they are not probabilities."""
    sums = theta.sum(axis=1)
    if theta.min() < 0 or np.abs(sums - 1).max() > _OFF:
        raise ConfigError(
            "LEEP takes probabilities, at least 0 and with a sum of 1 in each row; apply the softmax to logits first."
        )
    theta /= sums[:, None]
    return theta
