"""k-nearest-neighbour agreement: how often the neighbours of an image in a source's features give the target's answer for it.

The answers of the target's network are pseudo-labels (Lee, ICML 2013 workshop), and the classifier is that of Cover and Hart
(1967), with neighbours from other folds of the images. Where outputs are not classes, the neighbours' mean predicts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.answers import find_classes
from onnxspace.scores.arrays import Array, Index, as_table
from onnxspace.scores.folds import draw_folds
from onnxspace.scores.grids import as_feature_grid
from onnxspace.scores.neighbours import find_neighbours, mean_of_others, vote
from onnxspace.scores.pairs.predictivity import TargetOutputs
from onnxspace.scores.pairs.probability_predictivity import prepare_probabilities
from onnxspace.scores.pairs.readout import SumsOfSquares


def knn_agreement(outputs: ArrayLike, features: ArrayLike) -> float:
    """Return the accuracy, 0 to 1, with which neighbours in a source's features vote for the target's answers; larger is better.

    `outputs` [images, …] are the target network's, and `features` [images, …] the source's at its encoder, of the same images;
    the score is directed. Features with positions are averaged over them. The answer for an image is the class of its largest
    output, and the vote that of the 5 nearest images of other folds, which are a fixed permutation of positions; the commands
    split images by their content instead. Where outputs are not a classifier's (maps, coordinates, embeddings), the result is
    R² of the mean of the neighbours' outputs, up to 1. Raises ConfigError for other shapes, too few images, and outputs that
    are the same for every image.

    >>> features = [[float(i // 20), 0.01 * i] for i in range(40)]
    >>> knn_agreement([[8.0, 0, 0]] * 20 + [[0, 8.0, 0]] * 20, features)
    1.0
    """
    target = Answers.of(outputs)
    return FeatureNeighbours(features).sums_of_squares([target])[0].share


@dataclass(frozen=True, eq=False)
class Answers:
    """A target's answers: `classes`, intp [images], or `rows` of numbers, float64 [images, columns], where it has none."""

    classes: Index | None
    rows: Array

    @property
    def images(self) -> int:
        return len(self.rows)

    @property
    def chance(self) -> float:
        """The agreement with the most frequent answer, or R² of the mean answer, which is 0."""
        return 0.0 if self.classes is None else float(np.unique(self.classes, return_counts=True)[1].max() / len(self.classes))

    @classmethod
    def of(cls, outputs: ArrayLike) -> Answers:
        """Prepare a network's `outputs` [images, …]. Raises ConfigError where they do not vary."""
        classes = find_classes(outputs)
        return cls.of_parts(classes, prepare_probabilities(outputs) if classes is None else None)

    @classmethod
    def of_parts(cls, classes: Index | None, target: TargetOutputs | None) -> Answers:
        """Prepare `classes`, intp [images], or where there are none the outputs of `target`. Raises ConfigError as `of`."""
        if classes is None:
            assert target is not None
            return cls(None, target.rows.reshape(target.images, -1))
        if len(np.unique(classes)) < 2:
            raise ConfigError("The target's answer is the same for every image, so neighbours have nothing to agree on.")
        return cls(classes, np.zeros((len(classes), 1)))


class FeatureNeighbours:
    """A source's `features` [images, …] and the neighbours of each image in them. Raises ConfigError.

    `folds`, intp [images], is the fold of each image (None: as `draw_folds`).
    """

    def __init__(self, features: ArrayLike, folds: Index | None = None) -> None:
        values = np.asanyarray(features)
        rows = as_table(values)
        picture = as_feature_grid(values)
        if picture is not None:
            rows = picture.mean(axis=(2, 3), dtype=np.float64)
        self.folds = draw_folds(len(rows)) if folds is None else folds
        self.near = find_neighbours(rows, self.folds)

    def sums_of_squares(self, targets: Sequence[Answers]) -> list[SumsOfSquares]:
        """Return per-image terms for each of the `targets`: of classes, 1 for each image that is missed, of 1.

        Raises ConfigError where they are of different images.
        """
        if any(one.images != len(self.near) for one in targets):
            raise ConfigError(
                "The target's outputs and the source's features are of different images; compute both from the same images."
            )
        return [self._count(one.classes) if one.classes is not None else self._regress(one.rows) for one in targets]

    def _count(self, classes: NDArray[np.intp]) -> SumsOfSquares:
        missed = (vote(classes[self.near]) != classes).astype(np.float64)
        return SumsOfSquares(missed, np.ones(len(classes)))

    def _regress(self, rows: Array) -> SumsOfSquares:
        missed = np.square(rows - rows[self.near].mean(axis=1)).sum(axis=1)
        return SumsOfSquares(missed, np.square(rows - mean_of_others(rows, self.folds)).sum(axis=1))
