"""NLEEP: LEEP with the components of a Gaussian mixture instead of source classes, for features of any model.

Li et al., "Ranking Neural Checkpoints" (CVPR 2021).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array
from onnxspace.scores.labelled.leep import leep_of_classes
from onnxspace.scores.prepared import Prepared, prepare

_ROUNDS = 100


def nleep(
    features: ArrayLike | Prepared,
    labels: ArrayLike | None = None,
    variance: float = 0.8,
    per_class: int = 5,
    seed: int = 0,
) -> float:
    """Return LEEP of the mixture's responsibilities, at most 0, larger is better.

    `features` [images, dimensions], `labels` [images] of classes. Features are reduced to the principal components that explain
    more than the share `variance`, in (0, 1]. The mixture has `per_class` components (at least 1) for each class, with diagonal
    covariances (full ones would have more parameters than there are images), fitted by scikit-learn from `seed` in at most 100
    rounds. The value varies with the seed and the order of the images by a few percent, so it only serves to rank models.
    Raises ConfigError for options out of range, and where there are more components than images.

    >>> nleep([[0.0], [0.1], [1.0], [1.1]], [0, 0, 1, 1], per_class=1) <= 0
    True
    """
    ready = prepare(features, labels, "classes")
    count = per_class * int(ready.index[-1] + 1)
    if not 0 < variance <= 1 or per_class < 1:
        raise ConfigError(f"NLEEP needs a share of variance in (0, 1] and components from 1, not {variance} and {per_class}.")
    if count > ready.images:
        raise ConfigError(
            f"NLEEP fits {count} components, {per_class} for each class, to {ready.images} images; use more images or fewer"
            " components per class."
        )
    return leep_of_classes(_responsibilities(_reduce_dimensions(ready, variance), count, seed), ready.index)


def _reduce_dimensions(ready: Prepared, variance: float) -> Array:
    shares = np.cumsum(ready.spectrum.values) / ready.spectrum.values.sum()
    kept = int(np.searchsorted(shares, variance, side="right")) + 1
    return ready.components[:, : min(kept, np.count_nonzero(ready.spectrum.values))]


def _responsibilities(rows: Array, count: int, seed: int) -> Array:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    largest = float(rows[:, 0].var())
    # scikit-learn's floor of 1e-6 where variances are about 1, but at most a millionth of them and never below rounding.
    floor = max(1e-6 * min(largest, 1.0), 1e-10 * largest)
    mixture = GaussianMixture(count, covariance_type="diag", reg_covar=floor, max_iter=_ROUNDS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: Array = mixture.fit(rows).predict_proba(rows)
    return found
