"""Which models go well together: SFDA of an ensemble, members added one at a time.

The SFDA paper scores ensembles but gives no code for it, so this is a construction of its own. Each model goes through SFDA with
its own self-challenge, which leaves log probabilities of the classes for every image. The ensemble's are their mean,
renormalised (a product of experts), and its score is the mean probability of the right class, as for one model. So one model
scores what `sfda` gives it, a copy of a member changes nothing, and what raises the score is a model that is sure where the
others are not. Members are chosen greedily: first the best, then always the one that raises the score most.
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
    """Positions of the chosen models in the order of their choice, and the ensemble's score after each, in (0, 1]."""

    members: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return self.scores[-1]


def sfda_ensemble(features: Sequence[ArrayLike | Prepared], labels: ArrayLike | None = None, size: int = 3) -> Ensemble:
    """The ensemble of at most `size` models with the best SFDA, found greedily; larger scores are better.

    `features` has one array [images, dimensions] per model, of the same images in the same order; `labels` [images] of
    classes. It ends early where no model raises the score. Memory holds images × classes numbers per model. Raises ConfigError as
    `sfda`, for no model, and for a size below 1.
    """
    if not features or size < 1:
        raise ConfigError(f"An ensemble of {size} out of {len(features)} models: both must be at least 1.")
    logs: list[Array] = []
    index = np.empty(0, np.intp)
    for model in features:  # one at a time, so that one model's features are in memory
        ready = prepare(model, labels, "classes")
        if logs and not np.array_equal(ready.index, index):
            raise ConfigError("The models' features are of different images; describe the same images with each.")
        index = ready.index
        logs.append(log_probabilities(ready))
    return _greedy(logs, index, size)


def _greedy(logs: Sequence[Array], index: Index, size: int) -> Ensemble:
    total: Array = np.zeros_like(logs[0])
    members: list[int] = []
    scores: list[float] = []
    while len(members) < min(size, len(logs)):
        tried = {i: _right(total + one, index, len(members) + 1) for i, one in enumerate(logs) if i not in members}
        best = max(tried, key=lambda i: tried[i])
        if scores and tried[best] <= scores[-1]:
            break
        members.append(best)
        scores.append(tried[best])
        total = total + logs[best]
    return Ensemble(tuple(members), tuple(scores))


def _right(total: Array, index: Index, count: int) -> float:
    """Mean probability of the right class where the mean log probabilities are `total / count`."""
    mean = total / count
    mean -= mean.max(axis=1, keepdims=True)
    chances = np.exp(mean)
    return float((chances[np.arange(len(index)), index] / chances.sum(axis=1)).mean())
