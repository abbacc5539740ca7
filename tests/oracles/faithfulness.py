"""Slow versions of the measures of faithfulness in float64, from the papers' formulas: loops over pixels, steps and perturbations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
#: From an image [channels, height, width] to a number.
Output = Callable[[Numbers], float]


def area(curve: Numbers) -> float:
    """The trapezoidal rule over points at equal distances from 0 to 1."""
    width = 1 / (len(curve) - 1)
    return sum(width * (a + b) / 2 for a, b in pairwise(curve))


def curve(output: Output, order: list[tuple[int, int]], start: Numbers, end: Numbers, steps: int) -> Numbers:
    """The output while the pixels of `order` are replaced one after the other, at each of `steps`."""
    values = []
    for step in range(steps + 1):
        image = start.copy()
        for row, column in order[: round(step * len(order) / steps)]:
            image[:, row, column] = end[:, row, column]
        values.append(output(image))
    return np.array(values)


def infidelity(predicted: Numbers, changes: Numbers) -> float:
    """The least mean square of β · IᵀΦ − Δ over β, by least squares, divided by the mean square of Δ."""
    (scale,), *_ = np.linalg.lstsq(predicted[:, None], changes, rcond=None)
    total = sum((scale * p - d) ** 2 for p, d in zip(predicted, changes, strict=True)) / len(changes)
    return float(total / (sum(d**2 for d in changes) / len(changes)))


def spearman_of_magnitudes(one: Numbers, other: Numbers) -> float:
    """Pearson's correlation of mean ranks, each counted pixel by pixel."""

    def ranks(values: Numbers) -> Numbers:
        flat = np.abs(values).ravel()
        return np.array([(flat < v).sum() + ((flat == v).sum() - 1) / 2 for v in flat])

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def mass(values: Numbers, mask: NDArray[np.bool_]) -> float:
    """The energy-based pointing game: what lies inside, of what lies inside and outside."""
    inside = sum(float(v) for v, m in zip(values.ravel(), mask.ravel(), strict=True) if m)
    outside = sum(float(v) for v, m in zip(values.ravel(), mask.ravel(), strict=True) if not m)
    return inside / (inside + outside)


def ranks(values: Numbers, mask: NDArray[np.bool_]) -> float:
    """How many of the K largest pixels are among the K of the mask, divided by K."""
    truth = {k for k, m in enumerate(mask.ravel()) if m}
    top = sorted(range(values.size), key=lambda k: -values.ravel()[k])[: len(truth)]
    return len(truth & set(top)) / len(truth)


def structure(one: Numbers, other: Numbers) -> float:
    """The mean over all windows of 11 × 11 pixels, with Gaussian weights of a standard deviation of 1.5."""
    x, y = one / one.max(), other / other.max()
    distance = np.arange(-5, 6)
    weights = np.exp(-(distance[:, None] ** 2 + distance[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for row in range(5, x.shape[0] - 5):
        for column in range(5, x.shape[1] - 5):
            a, b = (v[row - 5 : row + 6, column - 5 : column + 6] for v in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            spread_a, spread_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            light = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            found.append(light * (2 * both + 9e-4) / (spread_a + spread_b + 9e-4))
    return float(np.mean(found))


def entropy(values: Numbers) -> float:
    """The entropy of how many values lie in each of 100 bins."""
    low, width = values.min(), np.ptp(values) / 100
    bins = [min(int((v - low) / width), 99) for v in values.ravel()]
    shares = [bins.count(k) / len(bins) for k in set(bins)]
    return -sum(share * float(np.log(share)) for share in shares)
