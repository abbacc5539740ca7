"""Rank correlations of a prediction with the truth, and what following the prediction costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def weighted_tau(predicted: Numbers, truth: Numbers) -> float:
    """Kendall's tau in which pairs near the top count more, in [−1, 1]; both float64 [candidates], larger is better.

    `scipy.stats.weightedtau` with its defaults: hyperbolic weights that add, averaged over ranks by either side (Vigna, WWW
    2015). A side whose values are all equal has no order, and the value is then 0, the mean over random orders.
    """
    from scipy.stats import weightedtau

    return _or_zero(weightedtau, predicted, truth)


def kendall_tau(predicted: Numbers, truth: Numbers) -> float:
    """Kendall's tau-b, in [−1, 1]; arguments and equal values as in `weighted_tau`."""
    from scipy.stats import kendalltau

    return _or_zero(kendalltau, predicted, truth)


def spearman(predicted: Numbers, truth: Numbers) -> float:
    """Spearman's rank correlation, ties at their mean rank, in [−1, 1]; arguments and equal values as in `weighted_tau`."""
    from scipy.stats import spearmanr

    return _or_zero(spearmanr, predicted, truth)


def _or_zero(measure: Callable[[Numbers, Numbers], Any], predicted: Numbers, truth: Numbers) -> float:
    return float(measure(predicted, truth).statistic) if ordered(predicted) and ordered(truth) else 0.0


def ordered(values: Numbers) -> bool:
    """Whether there is any order in the values."""
    return len(values) > 1 and float(values.max()) > float(values.min())


def best_of_first(gain: Numbers, predicted: Numbers) -> Numbers:
    """The largest gain among the first K by `predicted`, for K = 1 … candidates: float64 [candidates], never falling.

    Where candidates are tied at the K-th place it is the expectation over all ways to break the tie.
    """
    order = np.argsort(-predicted, kind="stable")
    steps = np.flatnonzero(np.diff(predicted[order])) + 1
    if len(steps) == len(order) - 1:
        certain: Numbers = np.maximum.accumulate(gain[order])
        return certain
    found: list[float] = []
    best = -np.inf
    for part in np.split(gain[order], steps):
        group = np.sort(part)[::-1]
        found += [_expected_best(best, group, drawn) for drawn in range(1, len(group) + 1)]
        best = max(best, float(group[0]))
    return np.array(found)


def _expected_best(best: float, group: Numbers, drawn: int) -> float:
    """Mean of the largest of `best` and `drawn` values that are taken from `group` (falling) at random."""
    size = len(group)
    if drawn == size:
        return max(best, float(group[0]))
    left = np.arange(size, 0, -1)
    missed = np.cumprod(np.maximum(left - drawn, 0) / left)  # the chance that none of the first 1, 2, … is drawn
    chances = np.concatenate([[1.0], missed[:-1]]) - missed
    return float(chances @ np.maximum(group, best))


def relative(truth: Numbers, predicted: Numbers) -> Numbers:
    """Rel@K, float64 [candidates]: the best truth among the first K as a share of the best of all, in [0, 1].

    For losses, which come negated, it is the lowest loss over that of the choice. NaN where the truth has both signs or its
    best is zero: shares then mean nothing. (Li et al., CVPR 2021, call it Rel@k.)
    """
    best = float(truth.max())
    if best == 0.0 or (best > 0.0 > float(truth.min())):
        return np.full(len(truth), np.nan)
    return best_of_first(truth / best if best > 0.0 else best / truth, predicted)


def regret(truth: Numbers, predicted: Numbers) -> Numbers:
    """Regret@K, float64 [candidates]: the best truth of all less the best among the first K, in the truth's unit, ≥ 0."""
    lost: Numbers = np.maximum(truth.max() - best_of_first(truth, predicted), 0.0)
    return lost
