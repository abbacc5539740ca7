"""Confidence intervals of means over targets, by resampling targets with replacement (percentile bootstrap, Efron 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
DRAWS, LEVEL = 1000, 0.95
MOST_DRAWS = 10_000


def mean(values: Numbers) -> Numbers:
    """Return the mean over targets, float64 [columns], of `values`, float64 [targets, columns].

    NaN values are ignored; the mean of a column without numbers is NaN.

    >>> mean(np.array([[1.0, np.nan], [3.0, 5.0]])).tolist()
    [2.0, 5.0]
    """
    found: Numbers = _weighted_means(np.ones((1, len(values))), values)[0]
    return found


def intervals(values: Numbers, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> Numbers:
    """Return the lower and upper end of the mean over targets, float64 [2, columns], for `values`, float64 [targets, columns].

    `draws` resamples of the targets are drawn from `seed`, the same for equal numbers of targets, whatever the values; `level`
    is the share of resampled means inside the interval, 0 to 1. NaN where a resample has no number. With fewer than about ten
    targets the intervals are too narrow; with one target their width is 0.
    """
    chance = np.full(len(values), 1.0 / len(values))
    random = np.random.default_rng(seed)
    step = max(1, 2**22 // len(values))
    parts = (random.multinomial(len(values), chance, min(step, draws - done)) for done in range(0, draws, step))
    means = np.concatenate([_weighted_means(counts.astype(np.float64), values) for counts in parts])
    ends: Numbers = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends


def _weighted_means(counts: Numbers, values: Numbers) -> Numbers:
    """Means weighted by `counts`, float64 [draws, columns] from [draws, targets] and [targets, columns]."""
    there = np.isfinite(values)
    number = counts @ there.astype(np.float64)
    total = counts @ np.where(there, values, 0.0)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
