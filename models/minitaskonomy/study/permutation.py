"""What choosing the best of many variants gains where there is nothing to know.

Some sources are good for every target, so a variant that happens to put them first does so on the targets that had no say in the
choice, too: leaving targets out is no protection from luck of that kind, and an interval over targets does not see it. Here the
oracle's names are dealt anew, rows and columns alike (quadratic assignment, Hubert and Schultz 1976), and the whole choice is made
again: what it gains then is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
DEALS, LEVEL = 400, 0.95


@dataclass(frozen=True)
class ChanceGain:
    """`gain` is the mean difference in weighted tau as found; `mean` and `high` are its mean and 95th percentile over deals.

    `p` is the share of deals, the true one counted, in which it is at least as large.
    """

    gain: float
    mean: float
    high: float
    p: float


def compute_taus(predicted: Values, truth: Values) -> Values:
    """Weighted tau of rows, float64 [variants, deals, targets], from [variants, targets, n] and [deals, targets, n].

    `scipy.stats.weightedtau` with its defaults, but that equal values are ranked in their order.
    """
    found = np.empty((len(predicted), len(truth), predicted.shape[1]))
    for target in range(predicted.shape[1]):
        x, y = _compare_pairs(predicted[:, target]), _compare_pairs(truth[:, target])
        v, w = _weight_pairs(predicted[:, target]), _weight_pairs(truth[:, target])
        by_predicted = (v * x) @ y.T / np.sqrt((v * x * x).sum(axis=1)[:, None] * (v @ (y * y).T)).clip(1e-12)
        by_truth = x @ (w * y).T / np.sqrt(((x * x) @ w.T) * (w * y * y).sum(axis=1)).clip(1e-12)
        found[:, :, target] = (by_predicted + by_truth) / 2
    return found


def _compare_pairs(values: Values) -> Values:
    first, second = np.triu_indices(values.shape[1], 1)
    found: Values = np.sign(values[:, first] - values[:, second])
    return found


def _weight_pairs(values: Values) -> Values:
    """1 / rank of the first + 1 / rank of the second of each pair."""
    first, second = np.triu_indices(values.shape[1], 1)
    ranks = np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1) + 1
    found: Values = 1 / ranks[:, first] + 1 / ranks[:, second]
    return found


def drop_own(values: Values) -> Values:
    """Off-diagonal values of square matrices, float64 [..., n, n − 1]."""
    count = values.shape[-1]
    return values[..., ~np.eye(count, dtype=bool)].reshape(*values.shape[:-1], count - 1)


def draw_deals(count: int, number: int = DEALS) -> NDArray[np.intp]:
    """Orders of the names, intp [1 + number, count]; the first is the true one."""
    rng = np.random.default_rng(0)
    return np.array([np.arange(count), *(rng.permutation(count) for _ in range(number))])


def apply_deals(oracle: Values, orders: NDArray[np.intp]) -> Values:
    """The oracle [targets, targets] under every order, without its diagonal: float64 [orders, targets, targets − 1]."""
    return drop_own(np.stack([oracle[np.ix_(order, order)] for order in orders]))


def measure_nested(found: Values, default: Values, groups: Sequence[str], orders: NDArray[np.intp]) -> ChanceGain:
    """Chosen on targets of other groups; `found` float64 [variants, deals, targets], `default` [deals, targets].

    Groups are those of the oracle's names, and dealt with them.
    """
    _, numbers = np.unique(list(groups), return_inverse=True)
    gains = np.empty(len(orders))
    for deal, order in enumerate(orders):
        own = numbers[order]
        others = (own[:, None] != own[None, :]).astype(np.float64)
        chosen = (found[:, deal] @ others.T / others.sum(axis=1)).argmax(axis=0)
        gains[deal] = (found[chosen, deal, np.arange(len(own))] - default[deal]).mean()
    return _summarise(gains)


def measure_across_halves(found: Sequence[Values], default: Sequence[Values]) -> ChanceGain:
    """Chosen on one half of the seeds, judged on the other, both ways; each as in `nested`, by the half."""
    gains = []
    for deal in range(found[0].shape[1]):
        picks = [int(half[:, deal].mean(axis=1).argmax()) for half in found]
        judged = (found[1][picks[0], deal] - default[1][deal]) / 2 + (found[0][picks[1], deal] - default[0][deal]) / 2
        gains.append(float(judged.mean()))
    return _summarise(np.array(gains))


def _summarise(gains: Values) -> ChanceGain:
    high = float(np.quantile(gains[1:], LEVEL))
    return ChanceGain(float(gains[0]), float(gains[1:].mean()), high, float((gains >= gains[0] - 1e-12).mean()))
