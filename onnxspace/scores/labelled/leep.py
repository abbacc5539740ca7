"""LEEP: the log likelihood of the labels under what the source classes say of them.

Nguyen et al., "LEEP: A New Measure to Evaluate Transferability of Learned Representations" (ICML 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, inverse, table
from onnxspace.scores.labels import read_labels

_OFF = 1e-2


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """mean_n ln Σ_z P(y_n | z) θ_n(z), at most 0, larger is better.

    `probabilities` [images, source classes] are the source head's, rows summing to 1 (within 1e-2, for half precision);
    `labels` [images] of classes. Raises ConfigError for what are no probabilities, such as logits.
    """
    theta, classes = table(probabilities, "probabilities"), read_labels(labels, "classes")
    if len(theta) != len(classes.kept):
        raise ConfigError(f"There are probabilities of {len(theta)} images and labels of {len(classes.kept)}.")
    return expected(_normalised(theta[classes.kept].astype(np.float64)), classes.index)


def expected(theta: Array, index: Index) -> float:
    """LEEP of probabilities float64 [images, source classes] and the class of each image."""
    joint = np.zeros((int(index.max()) + 1, theta.shape[1]))
    np.add.at(joint, index, theta)
    given = joint * inverse(joint.sum(axis=0))
    return float(np.log(np.einsum("nz,nz->n", theta, given[index])).mean())


def _normalised(theta: Array) -> Array:
    """In its own place: rows that sum to 1."""
    sums = theta.sum(axis=1)
    if theta.min() < 0 or np.abs(sums - 1).max() > _OFF:
        raise ConfigError(
            "LEEP takes probabilities: at least 0, and 1 in each row together; apply the softmax to logits first."
        )
    theta /= sums[:, None]
    return theta
