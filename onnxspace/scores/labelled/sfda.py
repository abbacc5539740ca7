"""SFDA: how well a regularised Fisher discriminant separates the classes after a self-challenge that makes features harder.

Shao et al., "Not All Models Are Equal: Predicting Model Transferability in a Self-Challenging Fisher Space" (ECCV 2022).
The paper's generalised eigenproblem keeps all directions, so its discriminant equals that of a linear solve, which is cheaper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array
from onnxspace.scores.prepared import Prepared, class_means, class_slices, prepare

_ROUNDS = 3
_LEAST = 1e-10


def sfda(features: ArrayLike | Prepared, labels: ArrayLike | None = None) -> float:
    """Return the mean probability of the right class, in (0, 1], larger is better.

    `features` [images, dimensions], `labels` [images] of classes, at least one of which has two images that differ. The
    shrinkage `max(exp(−5σ), 1e-10)` depends on the scale of the features, as in the paper. Raises ConfigError for features
    that do not vary within any class.

    >>> round(sfda([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    0.984
    """
    ready = prepare(features, labels, "classes")
    found = np.exp(log_probabilities(ready)[np.arange(ready.images), ready.index])
    return float(found.mean())


def log_probabilities(ready: Prepared) -> Array:
    """Return log probabilities of the classes after the self-challenge: float64 [images, classes]. Raises ConfigError."""
    if np.bincount(ready.index).max() == 1:
        raise ConfigError("Every class has one image, so SFDA has no scatter within classes; give a class two images or more.")
    rows, room = ready.centred, np.empty_like(ready.centred)
    means, scatter = _within_class_scatter(ready, None, None, room)
    shrinkage = _shrinkage(ready, means, scatter)
    weights = _discriminant_weights(means, scatter, shrinkage, ready.width)
    along = rows @ weights
    easy = np.exp(_log_posteriors(along, means, weights, ready))
    soft = np.exp(easy)
    sure = (soft[np.arange(len(rows)), ready.index] / soft.sum(axis=1))[:, None]
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    means, scatter = _within_class_scatter(ready, sure, others, room)
    weights = _discriminant_weights(means, scatter, shrinkage, ready.width)
    # The challenged images are never stored: they are mixtures, so their projections are mixtures of projections.
    along = sure * (rows @ weights) + (1 - sure) * (others @ weights)[ready.index]
    return _log_posteriors(along, means, weights, ready)


def shrinkage_of(ready: Prepared) -> float:
    """Return λ = max(exp(−5σ), 1e-10), σ being the largest eigenvalue of the scatter within classes by power iteration.

    Three rounds of power iteration are made. Raises ConfigError where features do not vary within any class.
    """
    return _shrinkage(ready, *_within_class_scatter(ready, None, None, np.empty_like(ready.centred)))


def _within_class_scatter(ready: Prepared, sure: Array | None, others: Array | None, room: Array) -> tuple[Array, Array]:
    """Class means [classes, directions], and the scatter within classes [directions, directions], per image.

    With the confidence `sure` [images, 1] and `others` [classes, directions], images are first pulled towards the mean of the
    other classes, the more the lower the confidence in their own class. `room` is a buffer for the images less their class
    means; classes are processed one at a time, to stay in the cache.
    """
    parts = class_slices(ready.index)
    means = np.empty((len(parts), room.shape[1]))
    for c, part in enumerate(parts):
        rows = ready.centred[part]
        if sure is not None and others is not None:
            rows = sure[part] * (rows - others[c]) + others[c]
        means[c] = rows.mean(axis=0)
        np.subtract(rows, means[c], out=room[part])
    scatter = room.T @ room
    scatter /= len(room)
    return means, scatter


def _shrinkage(ready: Prepared, means: Array, scatter: Array) -> float:
    between = float(ready.labels.counts @ np.square(means).sum(axis=1)) / ready.images
    if not np.trace(scatter) > (ready.images * np.finfo(np.float64).eps) ** 2 * between:
        raise ConfigError(
            "All images of each class have the same features, so SFDA has no scatter within classes to compare with."
        )
    # The power iteration starts from the row sums of S, S·1, computed from sums over the original dimensions, so that the
    # start does not depend on the basis of x.
    totals = ready.features.sum(axis=1)
    totals -= class_means(totals[:, None], ready.index)[ready.index, 0]
    start = (ready.centred.T @ totals) / ready.images
    return max(float(np.exp(-5 * _largest_eigenvalue(scatter, start))), _LEAST)


def _largest_eigenvalue(scatter: Array, start: Array) -> float:
    """Power iteration with two products per round, as in the authors' code; the last pair gives the eigenvalue."""
    after = start if start.any() else scatter[:, np.argmax(np.diagonal(scatter))]
    for _ in range(_ROUNDS):
        before = _normalise(scatter @ after)
        after = _normalise(scatter @ before)
    return float(after @ scatter @ before)


def _normalise(vector: Array) -> Array:
    found: Array = vector / np.linalg.norm(vector)
    return found


def _discriminant_weights(means: Array, scatter: Array, shrinkage: float, width: int) -> Array:
    """S̃⁻¹ μ_c: float64 [directions, classes]. `scatter` is overwritten."""
    ridge = shrinkage * float(np.trace(scatter)) / width
    scatter *= 1 - shrinkage
    return _solve_ridge(scatter, ridge, means.T)


def _log_posteriors(along: Array, means: Array, weights: Array, ready: Prepared) -> Array:
    """ln softmax of δ_c(x) = xᵀ S̃⁻¹ μ_c − ½ μ_cᵀ S̃⁻¹ μ_c + ln π_c from its first term, float64 [images, classes]."""
    along += np.log(ready.labels.counts / len(along)) - 0.5 * np.einsum("cd,dc->c", means, weights)
    along -= along.max(axis=1, keepdims=True)
    along -= np.log(np.exp(along).sum(axis=1, keepdims=True))
    return along


def _solve_ridge(scatter: Array, ridge: float, right: Array) -> Array:
    """(scatter + ridge·I)⁻¹ right; `scatter`, symmetric, is overwritten."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    diagonal = np.diagonal(scatter).copy()
    scatter.flat[:: len(scatter) + 1] += ridge
    try:
        found: Array = cho_solve(cho_factor(scatter.T, lower=True, overwrite_a=True, check_finite=False), right)
    except LinAlgError:  # the ridge is below the rounding error of the largest eigenvalue
        below = np.tril(scatter, -1)  # the factorisation overwrote the other half
        values, vectors = np.linalg.eigh(below + below.T + np.diag(diagonal))
        noise = len(values) * np.finfo(np.float64).eps * values[-1]
        found = vectors @ ((vectors.T @ right) / (np.where(values > noise, values, 0.0) + ridge)[:, None])
    return found
