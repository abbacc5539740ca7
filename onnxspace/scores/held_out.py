"""What features give for images that were held out, one by one: the ground for intervals and for comparing models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxspace.scores.arrays import Array, Index
from onnxspace.scores.prepared import Prepared


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Results of each labelled image, float64 [images], in the order in which the images were given; larger is better.

    `values` is 1 where the predicted class is right and 0 where it is wrong; for other labels, 1 less the squared error relative
    to that of the mean, whose mean over images is R². `constant` is the same of the best constant answer: the most frequent
    class, or the mean. `chance` is the mean that is expected if the predictions were paired with the images at random.
    """

    values: Array
    constant: Array
    chance: float

    @property
    def mean(self) -> float:
        """The score: accuracy or R²."""
        return float(self.values.mean())


def judge_classes(ready: Prepared, predicted: Index) -> HeldOut:
    """Compare the `predicted` class of each image, intp [images] in the order of `ready`, with its label.

    Chance is Σ_c p_c q_c, of the shares of class c among labels and predictions: the agreement expected of independent answers
    (Cohen 1960).
    """
    shares = ready.labels.counts / ready.images
    answers = np.bincount(predicted, minlength=len(shares)) / ready.images
    right = (predicted == ready.index).astype(np.float64)
    constant = (ready.index == shares.argmax()).astype(np.float64)
    return HeldOut(ready.restore_order(right), ready.restore_order(constant), float(shares @ answers))


def judge_numbers(ready: Prepared, errors: Array, baseline: Array) -> HeldOut:
    """Compare the `errors` of predicted numbers with those of the mean, the `baseline`, both float64 [images, columns]."""
    spread = np.square(baseline).mean(axis=0)
    values, constant = (1 - (np.square(one) / spread).mean(axis=1) for one in (errors, baseline))
    return HeldOut(ready.restore_order(values), ready.restore_order(constant), 0.0)
