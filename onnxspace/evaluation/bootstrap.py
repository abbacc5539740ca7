"""Intervals of means over targets: targets are drawn again, with replacement (percentile bootstrap, Efron 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
DRAWS, LEVEL = 1000, 0.95
MOST_DRAWS = 10_000


def mean(values: Numbers) -> Numbers:
    """The mean over targets, float64 [columns] from [targets, columns], of what is not NaN; NaN where nothing is."""
    found: Numbers = _weighted(np.ones((1, len(values))), values)[0]
    return found


def intervals(values: Numbers, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> Numbers:
    """Lower and upper end of the mean over targets, float64 [2, columns], for values float64 [targets, columns].

    The same seed and number of targets give the same draws, whatever is asked of them. NaN where a draw has no number. With
    fewer than ten targets or so, intervals come out too narrow; with one, of no width.
    """
    chance = np.full(len(values), 1.0 / len(values))
    random = np.random.default_rng(seed)
    step = max(1, 2**22 // len(values))
    parts = (random.multinomial(len(values), chance, min(step, draws - done)) for done in range(0, draws, step))
    means = np.concatenate([_weighted(counts.astype(np.float64), values) for counts in parts])
    ends: Numbers = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends


def _weighted(counts: Numbers, values: Numbers) -> Numbers:
    """Means under counts, float64 [draws, columns] from [draws, targets] and [targets, columns]."""
    there = np.isfinite(values)
    number = counts @ there.astype(np.float64)
    total = counts @ np.where(there, values, 0.0)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
