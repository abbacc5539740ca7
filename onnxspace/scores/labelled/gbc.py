"""GBC: how little the classes overlap, each taken for a Gaussian.

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
#: A class has at least this share of the features' mean variance in every direction, lest it be a point.
_FLOOR = 1e-12


def gbc(
    features: ArrayLike | Prepared,
    labels: ArrayLike | None = None,
    covariance: Covariance = "spherical",
    components: int = 64,
) -> float:
    """−Σ_{c≠c'} exp(−D_B(c, c')) over ordered pairs, from −C(C − 1) to 0, larger is better; D_B is Bhattacharyya's distance.

    `features` [images, dimensions] are cut to so many principal `components` where they have more dimensions; `labels`
    [images] of classes. Raises ConfigError for a class of one image, which has no variance.
    """
    ready = prepare(features, labels, "classes")
    if covariance not in get_args(Covariance) or components < 1:
        raise ConfigError(f"GBC takes a covariance of {', '.join(get_args(Covariance))} and components from 1.")
    alone = np.flatnonzero(ready.labels.counts == 1)
    if len(alone):
        raise ConfigError(f"GBC needs two images of each class; there is one of class {ready.labels.names[alone[0]]!r}.")
    return -2 * float(np.exp(-_distances(_cut(ready, components), ready, covariance)).sum())


def _cut(ready: Prepared, components: int) -> Array:
    """The features themselves, centred, where they are few: spherical and diagonal variances depend on the directions."""
    if ready.width <= components:
        found: Array = ready.features - ready.features.mean(axis=0)
        return found
    return ready.components[:, : min(components, np.count_nonzero(ready.spectrum.values))]


def _distances(rows: Array, ready: Prepared, covariance: Covariance) -> Array:
    """Bhattacharyya distances of each pair of classes, once: float64 [pairs]."""
    means = class_means(rows, ready.index)
    left, right = np.triu_indices(len(means), 1)
    floor = _FLOOR * float(rows.var())
    if covariance == "full":
        scatters = [_covariance(rows[part], floor) for part in class_slices(ready.index)]
        return np.array([_full(means[a] - means[b], scatters[a], scatters[b]) for a, b in zip(left, right, strict=True)])
    spreads = np.array([rows[part].var(axis=0, ddof=1) for part in class_slices(ready.index)])
    if covariance == "spherical":
        spreads[:] = spreads.mean(axis=1, keepdims=True)
    spreads = np.maximum(spreads, floor)
    return np.concatenate([_diagonal(means, spreads, c) for c in range(len(means) - 1)])


def _diagonal(means: Array, spreads: Array, c: int) -> Array:
    """Distances of class c to those after it."""
    both = (spreads[c] + spreads[c + 1 :]) / 2
    apart = (np.square(means[c] - means[c + 1 :]) / both).sum(axis=1) / 8
    logs = np.log(both) - (np.log(spreads[c]) + np.log(spreads[c + 1 :])) / 2
    found: Array = apart + logs.sum(axis=1) / 2
    return found


def _covariance(rows: Array, floor: float) -> Array:
    found: Array = np.atleast_2d(np.cov(rows, rowvar=False))
    values, vectors = np.linalg.eigh(found)
    return found if values[0] >= floor else (vectors * np.maximum(values, floor)) @ vectors.T


def _full(apart: Array, first: Array, second: Array) -> float:
    both = (first + second) / 2
    logs = [float(np.linalg.slogdet(scatter)[1]) for scatter in (both, first, second)]
    return float(apart @ np.linalg.solve(both, apart)) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2
