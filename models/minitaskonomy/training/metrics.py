"""How good a network's answers are: R² of numbers, accuracy of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.tasks import Kind


def r2(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """1 − squared error / variance over images and pixels, a mean over the channels (axis 1) that vary; at most 1."""
    axes = tuple(axis for axis in range(truth.ndim) if axis != 1)
    error = np.square(np.subtract(found, truth, dtype=np.float64)).mean(axes)
    spread = truth.var(axes, dtype=np.float64)
    return float((1.0 - error[spread > 0] / spread[spread > 0]).mean()) if (spread > 0).any() else 0.0


def accuracy(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """The share of images, or pixels, whose largest score (axis 1) is that of their class."""
    return float((scores.argmax(1) == truth).mean())


def score(kind: Kind, found: NDArray[Any], truth: NDArray[Any]) -> float:
    """R² or accuracy, as the kind has it."""
    return r2(found, truth) if kind in ("image", "vector") else accuracy(found, truth)


def score_chance(kind: Kind, truth: NDArray[Any]) -> float:
    """The score of who knows nothing but how labels are spread: 0, or the share of the commonest class."""
    if kind in ("image", "vector"):
        return 0.0
    return float(np.bincount(truth.ravel()).max() / truth.size)
