"""A network's answers: class probabilities from outputs that look like a classifier's, and what is wrong with them.

Outputs come without a description: 10 numbers per image may be logits, probabilities, or coordinates. They count as a classifier's
where they are distributions already, or where a softmax of them is confident, as it is of trained logits. A weak classifier's
logits, whose softmax is close to uniform, are compared as numbers, which is nearly the same there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.scores.arrays import Array, Index
from onnxspace.scores.grids import to_channels_first

#: Mean confidence above chance, as a share of what is possible, from which a softmax counts as a classifier's answer.
CONFIDENT = 0.5
#: Relative spread of the sums of probabilities, which quantised ones are rounded to.
_ROUNDED = 0.02
#: Share of the pictures from which one and the same answer is a constant one.
CONSTANT = 0.98
#: Mean confidence, as a multiple of chance, up to which answers are close to uniform.
UNIFORM = 1.25


def find_probabilities(outputs: ArrayLike) -> Array | None:
    """Return the class probabilities of a network's `outputs` [images, …]: float64 [images, classes, …], or None.

    The classes are the second axis, or that of the channels where there are positions. Outputs that are distributions are
    divided by their sums; of others a softmax is taken. None where they are not a classifier's, or have fewer than 2 classes.

    >>> find_probabilities([[8.0, 0.0, 0.0], [0.0, 8.0, 0.0]])[0].round(2).tolist()
    [1.0, 0.0, 0.0]
    """
    values = _as_classes(np.asanyarray(outputs))
    if values is None:
        return None
    sums = values.sum(axis=1, dtype=np.float64, keepdims=True)
    if values.min() >= 0 and sums.min() > 0 and np.ptp(sums) <= _ROUNDED * float(sums.mean()):
        shares: Array = values / sums
        return shares
    probabilities = softmax(values)
    chance = 1 / values.shape[1]
    above = (float(probabilities.max(axis=1).mean()) - chance) / (1 - chance)
    return probabilities if above >= CONFIDENT else None


def softmax(values: NDArray[Any]) -> Array:
    """Return the softmax of `values` [images, classes, …] over the classes: float64 of the same shape."""
    powers = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def find_classes(outputs: ArrayLike) -> Index | None:
    """Return the class that a network answers for each image, intp [images]; None where it gives none per image."""
    probabilities = find_probabilities(outputs)
    return None if probabilities is None or probabilities.ndim > 2 else np.asarray(probabilities.argmax(axis=1), np.intp)


def describe_answers(outputs: ArrayLike) -> tuple[str, ...]:
    """Return what makes a network's `outputs` [images, …] a poor basis for a ranking, a sentence each; empty for none."""
    values = np.asanyarray(outputs)
    if len(values) > 1 and np.array_equal(values, np.broadcast_to(values[:1], values.shape)):
        return ("Its outputs are the same for every picture.",)
    found = _as_classes(values)
    if found is None or found.ndim > 2 or found.shape[1] < 3:
        return ()
    probabilities = find_probabilities(values)
    if probabilities is None:
        confidence = float(softmax(found).max(axis=1).mean())
        return _describe_uniform(confidence, found.shape[1]) if _are_logits(found) else ()
    share = np.bincount(probabilities.argmax(axis=1)).max() / len(values)
    if share >= CONSTANT:
        return (f"It gives one and the same answer for {100 * share:.0f} % of the pictures.",)
    return _describe_uniform(float(probabilities.max(axis=1).mean()), probabilities.shape[1])


def _describe_uniform(confidence: float, classes: int) -> tuple[str, ...]:
    if confidence > UNIFORM / classes:
        return ()
    return (f"Its answers are close to chance: a mean confidence of {confidence:.2g} among {classes} classes.",)


def _are_logits(values: NDArray[Any]) -> bool:
    """Whether the largest of the values of an image, [images, classes], varies: of coordinates it is often the same."""
    return len(np.unique(values.argmax(axis=1))) > 2


def _as_classes(values: NDArray[Any]) -> NDArray[Any] | None:
    """`values` [images, …] with the classes as second axis, without axes of length 1 behind; None where there are no classes."""
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 4:
        values = to_channels_first(values)
    return values if values.ndim in (2, 4) and values.shape[1] > 1 else None
