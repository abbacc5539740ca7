"""Sources in very little: what of their features predicts any target's answers per image, for searches among very many models.

The residual of a ridge regression is linear in the answers, so that its sum of squares is an inner product of two matrices, images
× images: the products of the target's answers, and a matrix of the source's features alone. A row holds the latter, for the largest
ridge, in 8 bits, and the nearest images of each image, by which `knn_agreement` is computed exactly. So a row gives both members of
`mean_rank` for answers per image, up to the choice of the ridge; of outputs that are pictures, it predicts each image as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.scores.arrays import Array, Index
from onnxspace.scores.folds import FOLDS, assign_folds
from onnxspace.scores.neighbours import NEIGHBOURS, find_neighbours, vote
from onnxspace.scores.pairs.knn_agreement import Answers
from onnxspace.scores.pairs.readout import RIDGES
from onnxspace.scores.reduce import ReducedArrays, ReducedOutputs, ReducedSource
from onnxspace.similarity.fingerprints.reduced import Reduced

#: The most images of which a row holds products: the first in the order of their content.
MOST_IMAGES = 128
_LEVELS = 127
_AT_ONCE = 2**21  # numbers that are widened at once
Rows = NDArray[np.void]


def row_type(images: int) -> np.dtype[np.void]:
    """Return the type of a row: `scale`, NaN for a model without features, `readout`, int8 [pairs], `near`, uint8 [images, 5]."""
    count = min(images, MOST_IMAGES)
    return np.dtype([("scale", "<f4"), ("readout", "i1", (count * (count + 1) // 2,)), ("near", "u1", (count, NEIGHBOURS))])


def make_row(reduced: Reduced | None, images: int) -> Rows:
    """Return the row of a model with these features in little, of type `row_type(images)` and shape []."""
    row: Rows = np.zeros((), row_type(images))
    row["scale"] = np.nan
    features = None if reduced is None else ReducedArrays(reduced).load("features")
    if reduced is None or features is None:
        return row
    chosen, folds = _choose_images(reduced.order)
    try:
        near, readout = find_neighbours(features[chosen].average(), folds), _describe_readout(features[chosen], folds)
    except (OnnxspaceError, np.linalg.LinAlgError):  # too few images of other folds, or numbers that overflow
        return row
    row["scale"] = max(float(np.abs(readout).max()), 1e-30) / _LEVELS
    row["readout"], row["near"] = np.rint(readout / row["scale"]), near
    return row


def _choose_images(order: Index) -> tuple[Index, Index]:
    """The images of a row, in the order of their content, and the fold of each."""
    chosen = np.argsort(order, kind="stable")[:MOST_IMAGES]
    return chosen, assign_folds(order[chosen], FOLDS)


def _describe_readout(features: Any, folds: Index) -> Array:
    """The products of residuals as a row of pairs: answers Y have residuals of the sum of squares ⟨Y Yᵀ, products⟩."""
    source = ReducedSource(features, folds)
    rows, columns = source.image_rows, source.count_columns(dense=False)
    gram, residual = rows @ rows.T, np.zeros((len(rows), len(rows)))
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        residual[own] = _centre(len(rows), own, others)
        residual[np.ix_(own, others)] -= _predict(gram, own, others, columns or rows.shape[1])
    return _to_pairs(residual.T @ residual)


def _centre(images: int, own: Index, others: Index) -> Array:
    """The matrix that subtracts the mean of the images `others` from those of `own`: float64 [own, images]."""
    found = np.eye(images)[own]
    found[:, others] -= 1 / len(others)
    return found


def _predict(gram: Array, own: Index, others: Index, columns: int) -> Array:
    """The matrix by which a ridge regression on the images `others` predicts those of `own`: float64 [own, others]."""
    means = gram[:, others].mean(axis=1)
    centred = gram - means[:, None] - means[None, :] + means[others].mean()
    known = centred[np.ix_(others, others)]
    ridge = max(RIDGES) * float(np.trace(known)) / columns
    weights = np.linalg.solve(known + (ridge or 1.0) * np.eye(len(others)), centred[np.ix_(others, own)]).T
    found: Array = weights - weights.mean(axis=1, keepdims=True)
    return found


@cache
def _list_pairs(images: int) -> tuple[Index, Index]:
    return np.triu_indices(images)


def _to_pairs(products: Array) -> Array:
    """The upper triangle of a symmetric matrix, whose products are those of the whole: pairs of two images count twice."""
    first, second = _list_pairs(len(products))
    return np.asarray(np.where(first == second, 1.0, 2.0) * products[first, second])


def to_vectors(rows: Rows) -> NDArray[np.float32]:
    """Return rows as vectors over pairs of images, of readouts and of neighbours: float32 [2, rows, pairs], NaN without features."""
    images, found = rows["near"].shape[1], np.empty((2, *rows["readout"].shape), np.float32)
    found[0] = rows["readout"] * rows["scale"][:, None]
    place = np.zeros((images, images), np.intp)
    place[_list_pairs(images)] = np.arange(found.shape[2])
    place = np.maximum(place, place.T)
    pairs = place[np.arange(images)[:, None], np.minimum(rows["near"], images - 1)].reshape(len(rows), -1)
    pairs += np.arange(len(rows))[:, None] * found.shape[2]
    found[1] = np.bincount(pairs.ravel(), minlength=found[1].size).reshape(found[1].shape)
    found[:, ~_find_valid(rows)] = np.nan
    return found


def _find_valid(rows: Rows) -> NDArray[np.bool_]:
    """Which rows are of a model with features, and name images that there are: bool [rows]. They may be from an untrusted file."""
    found: NDArray[np.bool_] = np.isfinite(rows["scale"]) & (rows["scale"] > 0)
    found &= rows["near"].max(axis=(1, 2), initial=0) < rows["near"].shape[1]
    return found


@dataclass(frozen=True, eq=False)
class AnswersOfTarget:
    """What a target answers for the images of a row, in the order of their content.

    `products`, float32 [images, images], are those of the answers of two images, of unit trace; `agreement` those by which
    neighbours are judged: whether two images have one class, or the products again. `answers` are those of `knn_agreement`, None of a model whose
    features stand for answers.
    """

    products: NDArray[np.float32]
    agreement: NDArray[np.float32]
    answers: Answers | None

    @classmethod
    def of(cls, reduced: Reduced | None) -> AnswersOfTarget | None:
        """Describe a target by its outputs or, where it has none that vary, by its features; None where it has neither."""
        if reduced is None:
            return None
        chosen = _choose_images(reduced.order)[0]
        arrays = ReducedArrays(reduced)
        outputs, features = arrays.load("outputs"), arrays.load_similarities()
        try:
            if outputs is not None:
                return cls._of_outputs(outputs[chosen])
        except OnnxspaceError:  # they are the same for all images
            pass
        return None if features is None else cls._of_products(features[np.ix_(chosen, chosen)])

    @classmethod
    def _of_outputs(cls, outputs: ReducedOutputs) -> AnswersOfTarget:
        target, answers = outputs.as_target(), outputs.as_answers()
        rows = target.rows.reshape(target.images, -1)
        found = cls._of_products(rows @ rows.T, answers)
        if answers.classes is None:
            return found
        same = (answers.classes[:, None] == answers.classes[None, :]).astype(np.float32)
        return cls(found.products, same, answers)

    @classmethod
    def _of_products(cls, products: Array, answers: Answers | None = None) -> AnswersOfTarget:
        unit = (products / max(float(np.trace(products)), 1e-30)).astype(np.float32)
        return cls(unit, unit, answers)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors whose products with those of `to_vectors` are estimates: float32 [2, pairs]."""
        first, second = _list_pairs(len(self.products))
        return np.stack([-self.products[first, second], self.agreement[first, second]])

    def estimate(self, rows: Rows) -> NDArray[np.float32]:
        """Estimate how well each of `rows` predicts the answers, larger is better: float32 [2, rows], −inf without features.

        The first is what a readout explains but for a constant, the second the agreement of neighbours without a vote. One pass over the rows.
        """
        found = np.empty((2, len(rows)), np.float32)
        pairs = self.vectors[0]
        base = (np.arange(len(self.agreement)) * len(self.agreement)).astype(np.intp)[:, None]
        step = max(1, _AT_ONCE // rows.dtype.itemsize)
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            found[0, first : first + step] = (part["readout"].astype(np.float32) @ pairs) * part["scale"]
            near = np.minimum(part["near"], len(self.agreement) - 1)
            found[1, first : first + step] = self.agreement.ravel()[near + base].sum(axis=(1, 2))
            found[:, first : first + step][:, ~_find_valid(part)] = -np.inf
        found[:, ~np.isfinite(found).all(axis=0)] = -np.inf
        return found

    def score(self, rows: Rows) -> Array:
        """Return `estimate` with the agreement as `knn_agreement` computes it: float64 [2, rows]."""
        found = self.estimate(rows).astype(np.float64)
        there, step = np.flatnonzero(np.isfinite(found[0])), max(1, _AT_ONCE // (rows["near"][:1].size * NEIGHBOURS))
        for first in range(0, len(there), step):
            part = there[first : first + step]
            found[1, part] = self._agree(rows["near"][part].astype(np.intp))
        return found

    def _agree(self, near: Index) -> Array:
        """The agreement of neighbours, intp [rows, images, 5]: a vote of classes, else less the squares of residuals."""
        classes = None if self.answers is None else self.answers.classes
        if classes is not None:
            votes = vote(classes[near].reshape(-1, near.shape[2])).reshape(near.shape[:2])
            return np.asarray((votes == classes).mean(axis=1))
        own = np.arange(near.shape[1])[:, None]
        among = self.products[near[..., :, None], near[..., None, :]].mean(axis=(2, 3), dtype=np.float64)
        return np.asarray((2 * self.products[own, near].mean(axis=2, dtype=np.float64) - among).sum(axis=1))
