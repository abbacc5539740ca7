"""GBC: how little the classes overlap, each modelled as a Gaussian.

Pándy et al., "Transferability Estimation using Bhattacharyya Class Separability" (CVPR 2022).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array
from onnxspace.scores.prepared import Prepared, class_means, class_slices, prepare

Covariance = Literal["spherical", "diagonal", "full"]
#: The least variance of a class in any direction, as a share of the features' mean variance.
_FLOOR = 1e-12


def gbc(
    features: ArrayLike | Prepared,
    labels: ArrayLike | None = None,
    covariance: Covariance = "spherical",
    components: int = 64,
) -> float:
    """Return −Σ_{c≠c'} exp(−D_B(c, c')) over ordered pairs of classes, from −C(C − 1) to 0, larger is better.

    D_B is the Bhattacharyya distance, C the number of classes. `features` [images, dimensions] are reduced to this many
    principal `components` where they have more dimensions; `labels` [images] are classes,
    and `covariance` is the form of their covariances. Raises ConfigError for a class of one image, which has no variance, and for options out of range.

    >>> round(gbc([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    -0.211
    """
    ready = prepare(features, labels, "classes")
    if covariance not in get_args(Covariance) or components < 1:
        raise ConfigError(f"GBC takes a covariance of {', '.join(get_args(Covariance))} and components from 1.")
    alone = np.flatnonzero(ready.labels.counts == 1)
    if len(alone):
        raise ConfigError(f"GBC needs two images of each class; class {ready.labels.names[alone[0]]!r} has one.")
    return -2 * float(np.exp(-_bhattacharyya_distances(_reduce_dimensions(ready, components), ready, covariance)).sum())


def _reduce_dimensions(ready: Prepared, components: int) -> Array:
    """Leading principal components, or the centred features where they are few, as diagonal variances depend on the axes."""
    if ready.width <= components:
        found: Array = ready.features - ready.features.mean(axis=0)
        return found
    return ready.components[:, : min(components, np.count_nonzero(ready.spectrum.values))]


def _bhattacharyya_distances(rows: Array, ready: Prepared, covariance: Covariance) -> Array:
    """Bhattacharyya distances of each pair of classes, once: float64 [pairs]."""
    means = class_means(rows, ready.index)
    left, right = np.triu_indices(len(means), 1)
    floor = _FLOOR * float(rows.var())
    if covariance == "full":
        scatters = [_floored_covariance(rows[part], floor) for part in class_slices(ready.index)]
        return np.array(
            [_full_distance(means[a] - means[b], scatters[a], scatters[b]) for a, b in zip(left, right, strict=True)]
        )
    spreads = np.array([rows[part].var(axis=0, ddof=1) for part in class_slices(ready.index)])
    if covariance == "spherical":
        spreads[:] = spreads.mean(axis=1, keepdims=True)
    spreads = np.maximum(spreads, floor)
    return np.concatenate([_diagonal_distances(means, spreads, c) for c in range(len(means) - 1)])


def _diagonal_distances(means: Array, spreads: Array, c: int) -> Array:
    """Distances of class c to the classes after it."""
    both = (spreads[c] + spreads[c + 1 :]) / 2
    apart = (np.square(means[c] - means[c + 1 :]) / both).sum(axis=1) / 8
    logs = np.log(both) - (np.log(spreads[c]) + np.log(spreads[c + 1 :])) / 2
    found: Array = apart + logs.sum(axis=1) / 2
    return found


def _floored_covariance(rows: Array, floor: float) -> Array:
    found: Array = np.atleast_2d(np.cov(rows, rowvar=False))
    values, vectors = np.linalg.eigh(found)
    return found if values[0] >= floor else (vectors * np.maximum(values, floor)) @ vectors.T


def _full_distance(apart: Array, first: Array, second: Array) -> float:
    both = (first + second) / 2
    logs = [float(np.linalg.slogdet(scatter)[1]) for scatter in (both, first, second)]
    return float(apart @ np.linalg.solve(both, apart)) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2
