"""Formulas of faithfulness on arrays, in double precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def area_under(curves: Numbers) -> Numbers:
    """Return the area under each curve, float64 [...], of `curves`, float64 [..., steps + 1], by the trapezoidal rule.

    The points of a curve lie at 0, 1/steps, …, 1, so that the area of probabilities is in [0, 1]. It is the AUC of Petsiuk, Das and
    Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018.

    >>> float(area_under(np.array([1.0, 0.0, 0.0])))
    0.25
    """
    area: Numbers = ((curves[..., 1:] + curves[..., :-1]) / 2).mean(axis=-1)
    return area


def rank_pixels(values: Numbers, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the rank of each pixel, int64 of the shape of `values`: 0 is the largest; equal values are in random order.

    Without it, pixels of equal value would go from the upper left to the lower right, which is an order of its own.

    >>> rank_pixels(np.array([[0.1, 0.3], [0.9, 0.2]]), np.random.default_rng(0)).tolist()
    [[3, 1], [0, 2]]
    """
    mixed = random.permutation(values.size)
    order = mixed[np.argsort(-values.ravel()[mixed], kind="stable")]
    ranks = np.empty(values.size, np.int64)
    ranks[order] = np.arange(values.size)
    return ranks.reshape(values.shape)


def infidelity(predicted: Numbers, changes: Numbers) -> Numbers:
    """Return the infidelity of maps with the optimal scale, relative to the changes' square: float64 [maps], in [0, 1].

    `predicted` is Iᵀ Φ, float64 [maps, perturbations]: by how much the output should change by each map; `changes` is f(x) − f(x − I),
    float64 [perturbations]: by how much it does. With β = Σ Iᵀ Φ · Δ / Σ (Iᵀ Φ)², the result is Σ (β · Iᵀ Φ − Δ)² / Σ Δ². It is 0 for
    maps that are proportional to the changes, and 1 for a zero map; NaN where the output never changes. The numerator is the
    infidelity of Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (in)fidelity and sensitivity of explanations", NeurIPS 2019.

    >>> infidelity(np.array([[2.0, 4.0], [0.0, 0.0]]), np.array([1.0, 2.0])).tolist()
    [0.0, 1.0]
    """
    own, size = np.square(predicted).sum(axis=1), float(np.square(changes).sum())
    if size == 0:
        return np.full(len(predicted), np.nan)
    scale = np.divide(predicted @ changes, own, out=np.zeros(len(own)), where=own > 0)
    left: Numbers = np.square(scale[:, None] * predicted - changes).sum(axis=1) / size
    return np.clip(left, 0.0, 1.0)


def rank_correlation(one: Numbers, other: Numbers) -> float:
    """Return Spearman's rank correlation of two maps of one shape, with mean ranks for ties.

    NaN where `one` is constant, and 0 where `other` alone is: then nothing of the order is left.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 5.0]))
    1.0
    """
    from scipy.stats import rankdata

    a, b = (rankdata(values.ravel()) for values in (one, other))
    a, b = a - a.mean(), b - b.mean()
    own, others = float(a @ a), float(b @ b)
    if own == 0:
        return float("nan")
    return 0.0 if others == 0 else float(np.clip(a @ b / np.sqrt(own * others), -1, 1))


def relative_change(maps: Numbers, others: Numbers) -> Numbers:
    """Return ‖Φ(y) − Φ(x)‖ / ‖Φ(x)‖ for maps Φ(x) and Φ(y), float64 [images, height, width] each: float64 [images].

    NaN where Φ(x) is zero.
    """
    size, change = (np.sqrt(np.square(values).sum(axis=(1, 2))) for values in (maps, others - maps))
    found: Numbers = np.divide(change, size, out=np.full(len(size), np.nan), where=size > 0)
    return found
