"""Readouts of what is said of an image as a whole, in closed form: one label per image is too little to train on by small steps.

Numbers are a ridge regression of the features at all positions, classes a logistic regression of their means over the quarters of
the grid. The penalty is the one that does best on the last fifth of the labels.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.minitaskonomy.oracle import examples
from models.minitaskonomy.tasks import Task

Array = NDArray[Any]
#: Shares of the mean eigenvalue.
PENALTIES = tuple(10.0 ** (power / 2) for power in range(-6, 7))
#: Inverse strengths of scikit-learn's penalty.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
#: One label and one image for each: what readouts learn from, or are asked.
Labelled = tuple[Tensor, Tensor]


def measure_loss(task: Task, few: Labelled, test: Labelled) -> float:
    """The relative error on `test` of a readout that learns from `few`: features [n, c, 8, 8], and labels [n] or [n, k]."""
    return _measure_numbers(task, few, test) if task.kind == "vector" else _measure_classes(task, few, test)


def _measure_numbers(task: Task, few: Labelled, test: Labelled) -> float:
    x, outside = (features.flatten(1).double() for features in (few[0], test[0]))
    y, fit = few[1].double(), len(x) - len(x) // 5
    guesses = [(y[fit:] - found).square().sum() for found in predict_numbers(x[:fit], y[:fit], x[fit:])]
    found = predict_numbers(x, y, outside)[int(torch.stack(guesses).argmin())]
    truth = test[1].double()
    return float(examples.average_relative((found - truth).square().sum(0), examples.compute_reference(task, truth, truth[0])))


def predict_numbers(x: Tensor, y: Tensor, outside: Tensor) -> list[Tensor]:
    """What ridge regressions of y [n, k] on x [n, d] say of other rows [m, d], for every penalty; by the n × n kernel."""
    centre, mean = x.mean(0), y.mean(0)
    values, vectors = torch.linalg.eigh((x - centre) @ (x - centre).T)
    values = values.clamp(min=0)
    turned, across = vectors.T @ (y - mean), (outside - centre) @ (x - centre).T @ vectors
    return [across @ (turned / (values + penalty * values.mean())[:, None]) + mean for penalty in PENALTIES]


def _measure_classes(task: Task, few: Labelled, test: Labelled) -> float:
    x, outside = (functional.adaptive_avg_pool2d(features, 2).flatten(1).cpu().numpy() for features in (few[0], test[0]))
    centre, spread = x.mean(0), x.std(0) + 1e-6
    x, outside = (x - centre) / spread, (outside - centre) / spread
    y, truth, fit = few[1].cpu().numpy(), test[1].cpu().numpy(), len(x) - len(x) // 5
    guesses = [
        _average_surprise(predict_probabilities(x[:fit], y[:fit], x[fit:], strength, task.channels), y[fit:])
        for strength in STRENGTHS
    ]
    found = predict_probabilities(x, y, outside, STRENGTHS[int(np.argmin(guesses))], task.channels)
    prior = (np.bincount(y, minlength=task.channels) + 1.0) / (len(y) + task.channels)
    return _average_surprise(found, truth) / float(-np.log(prior[truth]).mean())


def predict_probabilities(x: Array, y: Array, outside: Array, strength: float, classes: int) -> Array:
    """Probabilities [m, classes] by a logistic regression; a class that has no label gets what one label in all would."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps more change the third digit
        model = LogisticRegression(C=strength, max_iter=100, tol=1e-3).fit(x, y)
    found = np.full((len(outside), classes), 1.0 / (len(y) + classes))
    found[:, model.classes_] = model.predict_proba(outside)
    found /= found.sum(1, keepdims=True)
    return found


def _average_surprise(found: Array, truth: Array) -> float:
    """The mean negative logarithm of what was said of the true classes."""
    return float(-np.log(np.maximum(found[np.arange(len(truth)), truth], 1e-9)).mean())
