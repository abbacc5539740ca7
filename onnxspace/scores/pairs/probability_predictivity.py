"""Linear predictivity of a classifier's probabilities rather than its logits.

Probabilities are what the target's network answers, the soft labels of distillation (Hinton et al., 2015); logits vary between
images, and are large, in ways that change no answer.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from onnxspace.scores.answers import find_probabilities
from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs


def probability_predictivity(outputs: ArrayLike, features: ArrayLike) -> float:
    """Return R² of the target's class probabilities, predicted from a source's features on held-out images: up to 1.

    Larger is better. `outputs` [images, …] are the target network's, and `features` [images, …] the source's at its encoder, of
    the same images, 4 or more; the score is directed. A softmax is taken of outputs that look like a classifier's logits, per
    position where they have positions; other outputs are predicted as they are, as by `predictivity`. Raises ConfigError as
    `predictivity`.

    >>> features = [[2.0, 0], [1, 0], [0, 2], [0, 1]]
    >>> round(probability_predictivity([[9.0, 0], [9, 0], [0, 9], [0, 9]], features), 3)
    0.753
    """
    return SourceFeatures(features).explained_shares([prepare_probabilities(outputs)])[0]


def prepare_probabilities(outputs: ArrayLike) -> TargetOutputs:
    """Prepare a network's `outputs` [images, …], as probabilities where they are a classifier's. Raises ConfigError."""
    probabilities = find_probabilities(outputs)
    return TargetOutputs.of(outputs if probabilities is None else probabilities)
