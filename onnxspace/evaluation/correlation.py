"""Rank correlations of a prediction with the ground truth, and the regret of following the prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def weighted_tau(predicted: Numbers, truth: Numbers) -> float:
    """Return Kendall's tau with more weight on pairs near the top, in [−1, 1].

    `predicted` and `truth` are float64 [candidates], larger is better. It is `scipy.stats.weightedtau` with its defaults:
    additive hyperbolic weights, averaged over the ranks by either side (Vigna, WWW 2015). Where all values of a side are equal
    there is no order, and the result is 0, the mean over random orders.

    >>> weighted_tau(np.array([3.0, 2.0, 1.0]), np.array([0.9, 0.5, 0.1]))
    1.0
    """
    from scipy.stats import weightedtau

    return _correlate(weightedtau, predicted, truth)


def kendall_tau(predicted: Numbers, truth: Numbers) -> float:
    """Return Kendall's tau-b, in [−1, 1]; arguments and equal values as in `weighted_tau`."""
    from scipy.stats import kendalltau

    return _correlate(kendalltau, predicted, truth)


def spearman(predicted: Numbers, truth: Numbers) -> float:
    """Return Spearman's rank correlation, mean ranks for ties, in [−1, 1]; arguments and equal values as in `weighted_tau`."""
    from scipy.stats import spearmanr

    return _correlate(spearmanr, predicted, truth)


def _correlate(measure: Callable[[Numbers, Numbers], Any], predicted: Numbers, truth: Numbers) -> float:
    return float(measure(predicted, truth).statistic) if has_order(predicted) and has_order(truth) else 0.0


def has_order(values: Numbers) -> bool:
    """Return whether `values`, float64 [candidates], differ, so that they define an order."""
    return len(values) > 1 and float(values.max()) > float(values.min())


def best_of_first(gain: Numbers, predicted: Numbers) -> Numbers:
    """Return the largest `gain` among the first K candidates by `predicted`, for K = 1 … candidates: float64 [candidates].

    Both arguments are float64 [candidates], larger is better. Where candidates are tied at the K-th place, it is the
    expectation over all ways to break the tie. The result never decreases.
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
    """Mean of the maximum of `best` and of `drawn` random values from `group`, which is in descending order."""
    size = len(group)
    if drawn == size:
        return max(best, float(group[0]))
    left = np.arange(size, 0, -1)
    missed = np.cumprod(np.maximum(left - drawn, 0) / left)  # the chance that none of the first 1, 2, … is drawn
    chances = np.concatenate([[1.0], missed[:-1]]) - missed
    return float(chances @ np.maximum(group, best))


def relative_truth(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return Rel@K, float64 [candidates] in [0, 1]: the best `truth` of the first K by `predicted`, relative to the best.

    Both arguments are float64 [candidates], larger is better. For losses, which are negated, it is the lowest loss divided by
    that of the choice. NaN where the truth has both signs or its best value is 0, as ratios are then meaningless. The measure
    is the Rel@k of Li et al., CVPR 2021.
    """
    best = float(truth.max())
    if best == 0.0 or (best > 0.0 > float(truth.min())):
        return np.full(len(truth), np.nan)
    return best_of_first(truth / best if best > 0.0 else best / truth, predicted)


def regret(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return regret@K, float64 [candidates], ≥ 0: the best `truth` of all minus the best among the first K by `predicted`.

    Both arguments are float64 [candidates], larger is better; the result has the unit of the truth.
    """
    lost: Numbers = np.maximum(truth.max() - best_of_first(truth, predicted), 0.0)
    return lost
