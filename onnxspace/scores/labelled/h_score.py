"""H-score: how much of the features' variance, whitened, lies between the classes.

Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer Learning" (ICIP 2019), with the shrinkage
of Ibrahim et al., "Newer is not always better" (ECML 2022), after Ledoit and Wolf (2004).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, reciprocal_or_zero
from onnxspace.scores.prepared import Prepared, class_means, prepare


def h_score(features: ArrayLike | Prepared, labels: ArrayLike | None = None, regularised: bool = True) -> float:
    """Return tr(cov(F)⁻¹ cov(G)), G being the class means: from 0 to the number of classes minus 1, larger is better.

    `features` [images, dimensions], `labels` [images] of classes. The `regularised` form uses the Ledoit–Wolf covariance and
    (1 − shrinkage) cov(G), the former per image and the latter per degree of freedom, as published; with a handful of images that
    can pass the range by images / (images − 1), and is cut to it. The plain form uses the pseudo-inverse, and raises ConfigError unless there are fewer dimensions
    than images: otherwise it is the number of classes minus 1 for all features.

    >>> round(h_score([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    0.93
    """
    ready = prepare(features, labels, "classes")
    if regularised:
        return min(_regularised_h_score(ready), len(ready.labels.names) - 1.0)
    if ready.width >= ready.images:
        raise ConfigError(
            f"The plain H-score of {ready.images} images in {ready.width} dimensions is the same for all features; use the"
            " regularised one, or more images."
        )
    return float(_between_class_scatter(ready) @ reciprocal_or_zero(ready.spectrum.values))


def _between_class_scatter(ready: Prepared) -> Array:
    """Scatter of the class means along each principal direction: float64 [directions]."""
    means = class_means(ready.components, ready.index)
    found: Array = ready.labels.counts.astype(np.float64) @ np.square(means)
    return found


def _regularised_h_score(ready: Prepared) -> float:
    values, count = ready.spectrum.values, ready.images
    shrinkage = ledoit_wolf_shrinkage(ready)
    shrunk = (1 - shrinkage) * values / count + shrinkage * values.sum() / count / ready.width
    if shrinkage == 0:
        return float(_between_class_scatter(ready) @ reciprocal_or_zero(shrunk)) / (count - 1)
    return float((1 - shrinkage) * (_between_class_scatter(ready) @ (1 / shrunk)) / (count - 1))


def ledoit_wolf_shrinkage(ready: Prepared) -> float:
    """Return the shrinkage of the covariance towards a multiple of the identity, 0 to 1 (Ledoit and Wolf 2004, lemma 3.4)."""
    spread = ready.spectrum.values / ready.images
    squares, mean = float(np.square(spread).sum()), float(spread.sum()) / ready.width
    apart = squares - ready.width * mean**2
    fourth = float(np.square(np.square(ready.centred).sum(axis=1)).mean())
    noise = max((fourth - squares) / ready.images, 0.0)
    return min(noise / apart, 1.0) if apart > 1e-14 * squares else 0.0
