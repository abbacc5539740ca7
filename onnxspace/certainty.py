"""How sure an affinity and a ranking are: bootstrap over probe images, and the images after which nothing changes.

Images are drawn again with replacement (Efron 1979; percentile intervals as in Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError

LEVEL = 0.95
_STRETCH = 2**24


@dataclass(frozen=True, eq=False)
class Intervals:
    """What resampling the images says of the rows `targets` of the affinity matrix.

    `low[i, j]` and `high[i, j]`, float64 [targets, models]: the interval that holds the affinity of targets[i] and j with
    probability `level`. `ahead[i, a, b]`, float32 [targets, models, models]: the share of resamples in which a is ahead of b
    as a source for targets[i], a tie counting one half; NaN where a or b is the target, which is no source for itself.
    """

    targets: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    ahead: NDArray[np.float32]
    resamples: int
    seed: int
    level: float = LEVEL


def bootstrap(
    cosines: NDArray[np.floating[Any]],
    resamples: int = 1000,
    seed: int = 0,
    targets: Sequence[int] | None = None,
) -> Intervals:
    """Intervals from per-image cosines [images, models, models] as `image_cosines` gives; the same for the same seed.

    `targets` (None: all models) names the rows that matter: the result holds models² numbers for each of them. Raises
    ConfigError for cosines of another shape, no image, or no resample.
    """
    images, models = _checked(cosines)
    if resamples < 1:
        raise ConfigError(f"A bootstrap needs at least one resample, not {resamples}.")
    weights = _weights(images, resamples, seed)
    rows = tuple(range(models)) if targets is None else tuple(targets)
    edges, ahead = np.empty((2, len(rows), models)), np.empty((len(rows), models, models), np.float32)
    for place, target in enumerate(rows):
        drawn = np.clip(weights @ cosines[:, target].astype(np.float64), -1.0, 1.0)
        drawn[:, target] = 1.0
        edges[:, place] = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        ahead[place] = _ahead(drawn)
        ahead[place, target] = ahead[place, :, target] = np.nan
    return Intervals(rows, edges[0], edges[1], ahead, resamples, seed)


def settled(cosines: NDArray[np.floating[Any]]) -> int:
    """The number of probe images after which no ranking changes any more, for cosines [images, models, models].

    It is the smallest n ≥ 1 such that for every n' ≥ n, in the order the images have, the mean cosine over the first n'
    images ranks the sources of every target (larger first, ties by position, the target left out) as all images do. A
    result near the number of images says that more images may change the ranking again.
    """
    images, models = _checked(cosines)
    order = _orders(cosines.sum(axis=0, dtype=np.float64))
    running, last = np.zeros((models, models)), 0
    step = max(1, _STRETCH // (8 * models * models))
    for start in range(0, images, step):
        sums = running + np.cumsum(cosines[start : start + step], axis=0, dtype=np.float64)
        if start + step >= images:
            sums[-1] = cosines.sum(axis=0, dtype=np.float64)  # in one order of summation: the last equals itself
        differs = np.flatnonzero(~_ranks_as(sums, order))
        last = start + int(differs[-1]) + 1 if len(differs) else last
        running = sums[-1]
    return last + 1


def _checked(cosines: NDArray[np.floating[Any]]) -> tuple[int, int]:
    if cosines.ndim != 3 or cosines.shape[1] != cosines.shape[2] or 0 in cosines.shape:
        raise ConfigError(f"Cosines have shape [images, models, models] with at least one image, not {list(cosines.shape)}.")
    return int(cosines.shape[0]), int(cosines.shape[1])


def _weights(images: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """The share of each image in each resample: float64 [resamples, images], rows summing to 1."""
    drawn = np.random.default_rng(seed).integers(0, images, size=(resamples, images))
    counts = np.bincount((drawn + images * np.arange(resamples)[:, None]).ravel(), minlength=resamples * images)
    return counts.reshape(resamples, images) / images


def _ahead(drawn: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 [models, models]: how often a column of [resamples, models] is larger than another, ties one half."""
    columns = np.ascontiguousarray(drawn.T)
    more = np.array([np.count_nonzero(one > columns, axis=1) for one in columns]) / len(drawn)
    shares: NDArray[np.float32] = (0.5 + (more - more.T) / 2).astype(np.float32)
    return shares


def _orders(sums: NDArray[np.float64]) -> NDArray[np.intp]:
    """Sources of every target, best first: intp [models, models − 1]."""
    models = len(sums)
    ranked = [[j for j in np.argsort(-row, kind="stable") if j != target] for target, row in enumerate(sums)]
    return np.array(ranked, np.intp).reshape(models, models - 1)


def _ranks_as(sums: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each of [n, models, models] ranks every target's sources in this order: bool [n]."""
    in_order = np.take_along_axis(sums, order[None], axis=2)
    better, worse = in_order[:, :, :-1], in_order[:, :, 1:]
    by_place = order[:, :-1] < order[:, 1:]
    kept: NDArray[np.bool_] = ((better > worse) | ((better == worse) & by_place)).all(axis=(1, 2))
    return kept
