"""SFDA of an ensemble, with members selected greedily.

The SFDA paper scores ensembles but publishes no code for it, so this construction is our own. SFDA with its self-challenge
gives each model's log probabilities of the classes for every image. The ensemble's are their mean, renormalised (a product of
experts), and its score is the mean probability of the right class, as for one model. A single model therefore scores what
`sfda` returns, a copy of a member changes nothing, and a model raises the score where it is confident and the others are not.
The best model is selected first, then always the one that raises the score most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index
from onnxspace.scores.labelled.sfda import log_probabilities
from onnxspace.scores.prepared import Prepared, prepare


@dataclass(frozen=True)
class Ensemble:
    """Positions of the selected models in the order of selection, and the ensemble's score after each, in (0, 1]."""

    members: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return self.scores[-1]


def sfda_ensemble(features: Sequence[ArrayLike | Prepared], labels: ArrayLike | None = None, size: int = 3) -> Ensemble:
    """Select greedily the ensemble of at most `size` models with the best SFDA; larger scores are better.

    `features` has one array [images, dimensions] per model, of the same images in the same order; `labels` [images] are
    classes. Selection ends early where no model raises the score. Memory holds images × classes numbers per model. Raises
    ConfigError as `sfda`, for an empty sequence, for a size below 1, and for features of different images.

    >>> first, second = [[2.0, 0, 1], [1, 0, 1], [0, 2, 0], [0, 1, 1]], [[2.0, 0], [1, 0], [0, 2], [0, 1]]
    >>> sfda_ensemble([first, second], ["cat", "cat", "dog", "dog"]).members
    (0,)
    """
    if not features or size < 1:
        raise ConfigError(f"An ensemble of {size} out of {len(features)} models is impossible; both must be at least 1.")
    logs: list[Array] = []
    index = np.empty(0, np.intp)
    for model in features:  # one at a time, so that one model's features are in memory
        ready = prepare(model, labels, "classes")
        if logs and not np.array_equal(ready.index, index):
            raise ConfigError("The models' features are of different images; compute them on the same images.")
        index = ready.index
        logs.append(log_probabilities(ready))
    return _select_greedily(logs, index, size)


def _select_greedily(logs: Sequence[Array], index: Index, size: int) -> Ensemble:
    total: Array = np.zeros_like(logs[0])
    members: list[int] = []
    scores: list[float] = []
    while len(members) < min(size, len(logs)):
        tried = {
            i: _mean_true_class_probability(total + one, index, len(members) + 1)
            for i, one in enumerate(logs)
            if i not in members
        }
        best = max(tried, key=lambda i: tried[i])
        if scores and tried[best] <= scores[-1]:
            break
        members.append(best)
        scores.append(tried[best])
        total = total + logs[best]
    return Ensemble(tuple(members), tuple(scores))


def _mean_true_class_probability(total: Array, index: Index, count: int) -> float:
    """Mean probability of the right class where the mean log probabilities are `total / count`."""
    mean = total / count
    mean -= mean.max(axis=1, keepdims=True)
    chances = np.exp(mean)
    return float((chances[np.arange(len(index)), index] / chances.sum(axis=1)).mean())
