"""A linear probe in closed form: ridge regression on the features, each fold of images predicted by a fit to the others.

Leaving out one image at a time would put a probe without signal *below* chance: the class of the left-out image is then the
rarest of the rest. Folds have even shares of all classes. No fit is repeated: with the hat matrix H of the fit to all images,
the residuals of a held-out fold F are (I − H_FF)⁻¹ (y_F − ŷ_F), as for a single image (Allen 1974). The ridge of each fold
is chosen by generalised cross-validation (Golub, Heath and Wahba 1979) within the other folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index
from onnxspace.scores.held_out import HeldOut, judge_classes, judge_numbers
from onnxspace.scores.labels import Kind
from onnxspace.scores.prepared import Prepared, prepare

#: Ridges tried, as multiples of the mean positive eigenvalue of the features' Gram matrix, heaviest first.
RIDGES = tuple(10.0**power for power in range(3, -5, -1))


def linear_probe(features: ArrayLike | Prepared, labels: ArrayLike | None = None, kind: Kind = "auto") -> float:
    """Return held-out accuracy for classes, 0 to 1, or mean R² of the label columns, at most 1; larger is better.

    `features` [images, dimensions]; `labels` and `kind` as for `logme`. There are 2 to 10 folds with even shares of all classes
    (see `Prepared.folds`). An image's fold is decided by its content where `features` are prepared with it, by a fixed random
    order of positions otherwise. The probe has an intercept; its ridge is one of eight, from 1e-4 to 1e3 times the mean
    eigenvalue, chosen anew within the folds that are trained on. R² is relative to the mean of these folds, so a probe that
    learned nothing scores about 0, and about chance for classes. Raises ConfigError as `prepare`, and where all images are
    identical.

    >>> linear_probe([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"])
    1.0
    """
    return hold_out_probe(prepare(features, labels, kind)).mean


def hold_out_probe(ready: Prepared) -> HeldOut:
    """Return whether each image's class is predicted by the probe of the other folds, or 1 less its relative squared error."""
    if ready.folds.max() < 1:
        raise ConfigError("All images are identical, so none can be held out; give different ones.")
    columns = ready.labels.columns
    errors, baseline = _predict_folds(ready, columns)
    if ready.labels.kind == "classes":
        return judge_classes(ready, (columns - errors).argmax(axis=1))
    return judge_numbers(ready, errors, baseline)


class _Fit(NamedTuple):
    """Ridge regression on all images, in the basis of principal components: `rows` [images, rank] with `values` [rank]."""

    rows: Array
    values: Array
    columns: Array  # centred
    along: Array  # rowsᵀ columns


def _predict_folds(ready: Prepared, columns: Array) -> tuple[Array, Array]:
    """Errors of the held-out predictions of the columns, and of the mean of the other folds: float64 [images, columns]."""
    rank = np.count_nonzero(ready.spectrum.values)
    rows, centred = ready.components[:, :rank], columns - columns.mean(axis=0)
    fit = _Fit(rows, ready.spectrum.values[:rank], centred, rows.T @ centred)
    ridges = np.array(RIDGES) * fit.values.mean()
    errors, baseline = np.empty_like(columns), np.empty_like(columns)
    for fold in range(int(ready.folds.max()) + 1):
        part = np.flatnonzero(ready.folds == fold)
        tried = [_hold_out(fit, part, float(ridge)) for ridge in ridges]
        errors[part] = min(tried, key=lambda one: one[0])[1]
        baseline[part] = centred[part] + centred[part].sum(axis=0) / (ready.images - len(part))
    return errors, baseline


def _hold_out(fit: _Fit, part: Index, ridge: float) -> tuple[float, Array]:
    """The criterion of generalised cross-validation on all images but `part`, and the errors of these, [images, columns]."""
    images, rest = len(fit.rows), len(fit.rows) - len(part)
    shrunk = 1 / (fit.values + ridge)
    rows = fit.rows[part]
    scaled = rows * shrunk
    free = np.eye(len(part)) - 1 / images - scaled @ rows.T  # I − H_FF
    solved: Array = np.asarray(
        np.linalg.solve(free, np.hstack([fit.columns[part] - scaled @ fit.along, scaled @ scaled.T])), np.float64
    )
    errors = solved[:, : fit.columns.shape[1]]
    twice = solved[:, fit.columns.shape[1] :]
    # Of the fit without the part: its weights, its degrees of freedom beyond the intercept, its squared error.
    weights = shrunk[:, None] * fit.along - scaled.T @ errors
    used = len(fit.values) - ridge * (shrunk.sum() + np.trace(twice))
    mean = fit.columns[part].sum(axis=0) / rest  # of the other images, negated
    spread = np.square(fit.columns).sum() - np.square(fit.columns[part]).sum() - rest * np.square(mean).sum()
    slopes = fit.along - rows.T @ (fit.columns[part] + mean)
    misfit = spread - (weights * slopes).sum() - ridge * np.square(weights).sum()
    return max(float(misfit), 0.0) / max(rest - 1 - used, 1e-9) ** 2, errors
