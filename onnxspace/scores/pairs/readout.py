"""Ridge regression of outputs on features, cross-validated: each fold of images is predicted by a readout trained on the others.

Products of the features are computed once, and those of a fold are subtracted to train without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array
from onnxspace.scores.folds import Index, draw_folds

#: Ridges, as multiples of the mean eigenvalue of the features' Gram matrix; the best one is used.
RIDGES = (1e-4, 1e-2, 1.0)
_COLUMNS = 512
_TINY = float(np.finfo(np.float64).tiny)
Single = NDArray[np.float32]


class SumsOfSquares(NamedTuple):
    """Per-image sums of squares, float64 [images]: of the residuals with the best ridge (`missed`), and of the outputs (`there`)."""

    missed: Array
    there: Array

    @property
    def share(self) -> float:
        """R², up to 1."""
        return 1 - float(self.missed.sum()) / max(float(self.there.sum()), _TINY)


def regress_folds(
    features: Array, answers: Sequence[Array], images: int, folds: Index | None = None, columns: int | None = None
) -> list[SumsOfSquares]:  # fmt: skip
    """Predict the images of each fold by ridge regression on the other folds, for each array of `answers`.

    `features` and `answers` are rows float64 [images · positions, columns], in the order of the images; `folds` is the fold of
    each image, intp [images] (None: as `draw_folds`). `columns` is the number of the features' columns if some that are zero
    are left out (None: none is). The rows of each fold are centred by the mean of the others. Returns per-image sums of squares for each of the answers. Raises ConfigError where all images are in one fold.
    """
    found = draw_folds(images) if folds is None else folds
    parts = [np.flatnonzero(found == fold) for fold in np.unique(found)]
    if len(parts) < 2:
        raise ConfigError(
            "All images are the same, so nothing can be learnt from some and tested on others. Give other images."
        )
    positions = len(features) // images
    rows = [(part[:, None] * positions + np.arange(positions)).ravel() for part in parts]
    few = len(features) - min(map(len, rows)) < features.shape[1]
    readout = (_RowReadout if few else _ColumnReadout)(features, rows, columns or features.shape[1])
    return [one for some in _group_columns(answers) for one in _regress_group(readout, some, parts)]


def explained_shares(features: Array, answers: Sequence[Array], images: int, folds: Index | None = None) -> list[float]:
    """Return R² over all columns of each of the `answers`; arguments as in `regress_folds`."""
    return [one.share for one in regress_folds(features, answers, images, folds)]


def _group_columns(answers: Sequence[Array]) -> Iterator[Sequence[Array]]:
    """Group `answers` to about 512 columns: one product with many columns is faster than many with few."""
    first, columns = 0, 0
    for place, rows in enumerate(answers):
        columns += rows.shape[1]
        if columns >= _COLUMNS or place == len(answers) - 1:
            yield answers[first : place + 1]
            first, columns = place + 1, 0


def _regress_group(
    readout: _ColumnReadout | _RowReadout, answers: Sequence[Array], parts: Sequence[Index]
) -> list[SumsOfSquares]:  # fmt: skip
    values = np.concatenate(answers, axis=1).astype(np.float32)
    starts = np.cumsum([0, *(one.shape[1] for one in answers[:-1])])
    images = sum(map(len, parts))
    missed, there = np.zeros((len(answers), len(RIDGES), images)), np.zeros((len(answers), images))
    for part, held_out, mean, predictions in readout.folds(values):
        truth = values[held_out] - mean
        there[:, parts[part]] = _sum_squares_by_image(truth, len(parts[part]), starts)
        for place, predicted in enumerate(predictions):
            missed[:, place, parts[part]] = _sum_squares_by_image(truth - predicted, len(parts[part]), starts)
    best = missed.sum(axis=2).argmin(axis=1)
    return [SumsOfSquares(missed[place, ridge], there[place]) for place, ridge in enumerate(best)]


def _sum_squares_by_image(rows: Single, images: int, starts: NDArray[np.intp]) -> Array:
    """Sums of squares over the rows of each image and the columns of each group: float64 [starts, images]."""
    squares = np.square(rows).reshape(images, -1, rows.shape[1]).sum(axis=1, dtype=np.float64)
    sums: Array = np.add.reduceat(squares, starts, axis=1).T
    return sums


class _Fold(NamedTuple):
    """The number of a fold, its rows, the mean of the others' answers, and predictions of its centred answers with each ridge."""

    part: int
    held_out: Index
    mean: Single
    predictions: Iterator[Single]


@dataclass(frozen=True, eq=False)
class _Solver:
    """Ridge regression without one fold: Cholesky factors with each ridge, and the mean of the features of the others."""

    mean: Array
    factors: list[Array]


def _factorise(products: Array, columns: int) -> list[Array]:
    """Cholesky factors of `products` with each ridge; `products` are of features with so many `columns`."""
    trace = float(np.trace(products)) / columns
    scale = trace if trace > _TINY * 1e20 else 1.0  # features that do not vary predict the mean
    return [_factorise_one(products, ridge * scale) for ridge in RIDGES]


def _factorise_one(products: Array, ridge: float) -> Array:
    """The Cholesky factor, as the upper triangle, of `products` with `ridge` on their diagonal."""
    from scipy.linalg.lapack import dpotrf

    raised = np.array(products, order="F")
    raised[np.diag_indices(len(raised))] += ridge
    factor, failed = dpotrf(raised, lower=0, clean=0, overwrite_a=1)  # without the checks that cost more than small factors
    if failed:
        raise np.linalg.LinAlgError("The products of the features are not positive definite.")
    return np.asarray(factor)


def _solve(factor: Array, answers: Array) -> Array:
    from scipy.linalg.lapack import dpotrs

    found: Array = dpotrs(factor, answers, lower=0)[0]
    return found


class _ColumnReadout:
    """Readouts of features that have at least as many rows as columns."""

    def __init__(self, features: Array, rows: Sequence[Index], columns: int) -> None:
        self.rows, self.count, self.columns = rows, len(features), columns
        self.parts = [features[part] for part in rows]
        self.single = [part.astype(np.float32) for part in self.parts]
        products, sums = [part.T @ part for part in self.parts], np.array([part.sum(axis=0) for part in self.parts])
        whole = np.sum(products, axis=0)
        self.solvers = [self._train(whole - own, sums.sum(axis=0) - sums[i], len(rows[i])) for i, own in enumerate(products)]
        del self.parts

    def _train(self, products: Array, total: Array, held_out: int) -> _Solver:
        trained = self.count - held_out
        mean = total / trained
        return _Solver(mean, _factorise(products - trained * np.outer(mean, mean), self.columns))

    def folds(self, values: Single) -> Iterator[_Fold]:
        """Iterate over the folds for the answers `values`, float32 [rows, columns]."""
        own = [(part.T @ values[rows]).astype(np.float64) for part, rows in zip(self.single, self.rows, strict=True)]
        sums = np.array([values[rows].sum(axis=0, dtype=np.float64) for rows in self.rows])
        whole = np.sum(own, axis=0)
        for i, (rows, solver) in enumerate(zip(self.rows, self.solvers, strict=True)):
            trained = self.count - len(rows)
            mean = (sums.sum(axis=0) - sums[i]) / trained
            products = whole - own[i] - trained * np.outer(solver.mean, mean)
            yield _Fold(i, rows, mean.astype(np.float32), self._predict(self.single[i], solver, products))

    @staticmethod
    def _predict(features: Single, solver: _Solver, products: Array) -> Iterator[Single]:
        for factor in solver.factors:
            weights = _solve(factor, products)
            yield features @ weights.astype(np.float32) - (solver.mean @ weights).astype(np.float32)


class _RowReadout:
    """Readouts of features that have more columns than rows, from the products of rows."""

    def __init__(self, features: Array, rows: Sequence[Index], columns: int) -> None:
        self.rows = rows
        products = features @ features.T
        self.known = [np.flatnonzero(~np.isin(np.arange(len(features)), part)) for part in rows]
        self.solvers: list[tuple[Single, list[Array]]] = []
        for part, known in zip(rows, self.known, strict=True):
            centred = _centre_products(products, known)
            factors = _factorise(centred[np.ix_(known, known)], columns)
            self.solvers.append((centred[np.ix_(part, known)].astype(np.float32), factors))

    def folds(self, values: Single) -> Iterator[_Fold]:
        """Iterate over the folds for the answers `values`, float32 [rows, columns]."""
        for i, (rows, known) in enumerate(zip(self.rows, self.known, strict=True)):
            mean = values[known].mean(axis=0, dtype=np.float64).astype(np.float32)
            yield _Fold(i, rows, mean, self._predict(*self.solvers[i], values[known] - mean))

    @staticmethod
    def _predict(across: Single, factors: Sequence[Array], answers: Single) -> Iterator[Single]:
        for factor in factors:
            yield across @ _solve(factor, answers.astype(np.float64)).astype(np.float32)


def _centre_products(products: Array, known: Index) -> Array:
    """Products of rows after the mean of the rows `known` is subtracted from all."""
    means = products[:, known].mean(axis=1)
    found: Array = products - means[:, None] - means[None, :] + means[known].mean()
    return found
