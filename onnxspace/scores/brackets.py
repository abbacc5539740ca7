"""Which differences between models are more than the luck of the images: bootstrap over images (Efron 1979).

All models are resampled together, so differences are those of pairs: what makes an image hard for all cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from onnxspace.scores.arrays import Array

LEVEL, DRAWS = 0.95, 1000
_ROOM = 2**22
#: Less than any difference of one image among `MAX_IMAGES`, more than rounding.
_NOTHING = 1e-9


def resample_means(values: Array, draws: int = DRAWS, seed: int = 0) -> Array:
    """Return means over images drawn with replacement, float64 [draws, models], of `values`, float64 [models, images].

    The same images are drawn for all models, and for every call with equal numbers of images, `draws` and `seed`.
    """
    images = values.shape[1]
    random, step = np.random.default_rng(seed), max(1, _ROOM // images)
    parts = (_draw_counts(random, min(step, draws - i), images) @ values.T for i in range(0, draws, step))
    means: Array = np.concatenate(list(parts)) / images
    return means


def _draw_counts(random: np.random.Generator, draws: int, images: int) -> Array:
    """How often each image is drawn: float64 [draws, images]."""
    return np.array([np.bincount(random.integers(0, images, images), minlength=images) for _ in range(draws)], np.float64)


def find_intervals(means: Array) -> Array:
    """Return the 95 % percentile intervals of resampled `means`, float64 [draws, columns]: float64 [2, columns]."""
    ends: Array = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return ends


def exceeds(means: Array, tests: int = 1) -> list[bool]:
    """Return whether each column of resampled differences `means`, float64 [draws, columns], lies above 0 by its interval.

    With several `tests` the interval is widened, by the normal distribution, so that 95 % holds for all of them together.
    """
    if tests == 1:
        return [bool(low > _NOTHING) for low in find_intervals(means)[0]]
    reach = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / tests)
    return [bool(low > _NOTHING) for low in means.mean(axis=0) - reach * means.std(axis=0)]


def assign_brackets(means: Array, order: Sequence[int]) -> list[int]:
    """Return the bracket of each model in the `order` of a ranking, from 1, given resampled `means`, float64 [draws, models].

    A bracket holds the models that follow its first one and are not worse by more than the 95 % interval of the difference.

    >>> assign_brackets(np.array([[0.9, 0.5, 0.8], [0.7, 0.5, 0.9]]), [0, 2, 1])
    [1, 1, 2]
    """
    brackets: list[int] = []
    first = order[0] if order else 0
    for i in order:
        apart = exceeds(means[:, [first]] - means[:, [i]])[0]
        first = i if apart else first
        brackets.append((brackets[-1] if brackets else 1) + apart)
    return brackets
