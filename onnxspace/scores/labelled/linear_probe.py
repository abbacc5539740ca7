"""A linear probe in closed form: ridge regression on the features, with leave-one-out evaluation.

The leave-one-out prediction of a linear smoother needs no refitting: y_n − (y_n − ŷ_n) / (1 − h_n) (Allen 1974, PRESS).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.scores.arrays import Array
from onnxspace.scores.labels import Kind
from onnxspace.scores.prepared import Prepared, prepare

#: Ridges tried, as multiples of the mean eigenvalue of the features' Gram matrix.
RIDGES = tuple(10.0**power for power in range(-6, 4))


def linear_probe(features: ArrayLike | Prepared, labels: ArrayLike | None = None, kind: Kind = "auto") -> float:
    """Return leave-one-out accuracy for classes, 0 to 1, or mean R² of the label columns, at most 1; larger is better.

    `features` [images, dimensions]; `labels` and `kind` as for `logme`. The probe has an intercept; its ridge is the one of
    ten, from 1e-6 to 1e3 times the mean eigenvalue, with the least leave-one-out squared error. R² is relative to the mean of
    the *other* images, so a probe that learned nothing scores about 0. Raises ConfigError as `prepare`.

    >>> linear_probe([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"])
    1.0
    """
    ready = prepare(features, labels, kind)
    columns = ready.labels.columns
    left_out = _predict_left_out(ready, columns)
    if ready.labels.kind == "classes":
        return float((left_out.argmax(axis=1) == ready.index).mean())
    plain = (columns - columns.mean(axis=0)) * (ready.images / (ready.images - 1))
    errors = np.square(columns - left_out).sum(axis=0) / np.square(plain).sum(axis=0)
    return float(1 - errors.mean())


def _predict_left_out(ready: Prepared, columns: Array) -> Array:
    """Leave-one-out predictions of the best probe: float64 [images, columns]."""
    values = ready.spectrum.values
    rank = np.count_nonzero(values)
    values, rows = values[:rank], ready.components[:, :rank]
    mean = columns.mean(axis=0)
    along, squares = rows.T @ (columns - mean), np.square(rows)
    scale = values.sum() / ready.width
    best, least = columns, np.inf
    for ridge in RIDGES:
        weights = 1 / (values + ridge * scale)
        fitted = rows @ (weights[:, None] * along) + mean
        free = np.maximum(1 - 1 / ready.images - squares @ weights, np.finfo(np.float64).eps)
        errors = (columns - fitted) / free[:, None]
        if (total := float(np.square(errors).sum())) < least:
            best, least = columns - errors, total
    return best
