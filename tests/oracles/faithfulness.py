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
