"""LogME: the log evidence of the labels under a Bayesian linear model of the features, per image.

You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (ICML 2021). The determinant includes the
directions beyond the rank of the features, ½ (D − k) ln α, which widely copied code omits.

At its maximum over α and β the evidence does not depend on the unit of the features, but the published procedure stops early,
from a start that does. Here features are first divided by their root mean square, and the iteration ends when it is still.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.scores.arrays import Array, reciprocal_or_zero
from onnxspace.scores.labels import Kind
from onnxspace.scores.prepared import Prepared, prepare

_ROUNDS = 500
_STILL = 1e-8
#: A ratio α/β so many times the largest eigenvalue is infinite: the features say nothing, and the evidence is at its limit.
_ENDLESS = 1e12
#: The least squared error, as a share of the squared labels: it bounds the evidence where features predict them exactly.
_LEAST_MISFIT = 1e-10


def logme(features: ArrayLike | Prepared, labels: ArrayLike | None = None, kind: Kind = "auto") -> float:
    """Return the mean over label columns of the log evidence per image: any real number, larger is better, of any unit.

    `features` [images, dimensions]; `labels` [images] of classes (one column each), [images, labels] of 0 and 1, or real
    targets [images] or [images, targets]; `kind` ("classes", "multilabel", "regression") overrides the automatic choice.
    Columns that do not vary are left out. Raises ConfigError as `prepare`.

    >>> round(logme([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    -0.817
    """
    return float(log_evidence(prepare(features, labels, kind)).mean())


def log_evidence(ready: Prepared) -> Array:
    """Return the log evidence per image of each label column: float64 [columns]."""
    return _log_evidence(*_project_columns(ready), *ready.features.shape)


def _project_columns(ready: Prepared) -> tuple[Array, Array, Array]:
    """Eigenvalues σ [k] of features of unit mean square, and squared labels: along left singular vectors [k, columns], beyond
    these [columns].
    """
    columns, spectrum = ready.labels.columns, ready.raw_spectrum
    along = np.square(spectrum.vectors.T @ (ready.x.T @ columns)) * reciprocal_or_zero(spectrum.values)[:, None]
    rest = np.square(columns).sum(axis=0) - along.sum(axis=0)
    if np.count_nonzero(spectrum.values) == ready.images:
        rest[:] = 0.0
    return spectrum.values * (ready.features.size / spectrum.values.sum()), along, np.maximum(rest, 0.0)


def _log_evidence(sigma: Array, along: Array, rest: Array, images: int, width: int) -> Array:
    alpha, beta, weights, misfit = _find_fixed_point(sigma, along, rest, images)
    inside = np.log(alpha + beta * sigma[:, None]).sum(axis=0) + (width - len(sigma)) * np.log(alpha)
    found: Array = width / 2 * np.log(alpha) + images / 2 * np.log(beta) - inside / 2 - beta / 2 * misfit - alpha / 2 * weights
    found /= images
    found -= 0.5 * np.log(2 * np.pi)
    return found


def _find_fixed_point(sigma: Array, along: Array, rest: Array, images: int) -> tuple[Array, Array, Array, Array]:
    """α, β, |m|² and the squared residual of each column once α/β has converged, or after the last round."""
    alpha, beta, weights, misfit = np.ones((4, along.shape[1]))
    least, moving = _LEAST_MISFIT * (along.sum(axis=0) + rest), np.ones(along.shape[1], bool)
    for _ in range(_ROUNDS):
        ratio = alpha[moving] / beta[moving]
        both, parts = sigma[:, None] + ratio, along[:, moving]
        share = ratio / both  # N − γ as a sum of these avoids cancellation where the ratio is small
        weights[moving] = (parts * (sigma[:, None] / both) / both).sum(axis=0)
        misfit[moving] = (parts * np.square(share)).sum(axis=0) + rest[moving]
        alpha[moving] = (sigma[:, None] / both).sum(axis=0) / np.maximum(weights[moving], _LEAST_MISFIT * least[moving])
        beta[moving] = (share.sum(axis=0) + images - len(sigma)) / np.maximum(misfit[moving], least[moving])
        after = alpha[moving] / beta[moving]
        moving[moving] = (np.abs(after - ratio) > _STILL * ratio) & (after < _ENDLESS * sigma[0])
        if not moving.any():
            break
    return alpha, beta, weights, misfit
