"""Places by one score, and the mean of the places by several. Equal values share a place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxspace.scores.arrays import Array

#: Values that differ by a smaller share count as equal: two exports of one network differ by this much through rounding alone.
TIE = 1e-5
#: Below this, a difference is rounding whatever the values.
_NOTHING = 1e-9


def group_equals(values: Sequence[float]) -> list[list[int]]:
    """Return the positions of equal `values` together, largest first, NaN left out; ties in the order of positions.

    Values are equal to the largest of their group within `TIE`.

    >>> group_equals([0.5, 0.7, float("nan"), 0.5])
    [[1], [0, 3]]
    """
    groups: list[list[int]] = []
    for i in sorted((i for i, value in enumerate(values) if not math.isnan(value)), key=lambda i: -values[i]):
        if groups and math.isclose(values[groups[-1][0]], values[i], rel_tol=TIE, abs_tol=_NOTHING):
            groups[-1].append(i)
        else:
            groups.append([i])
    return [sorted(group) for group in groups]


def find_places(values: Sequence[float]) -> list[int | None]:
    """Return the place of each of `values` from 1, larger is better: one more than there are better ones, None for NaN.

    >>> find_places([0.5, 0.7, float("nan"), 0.5])
    [2, 1, None, 2]
    """
    places: list[int | None] = [None] * len(values)
    ahead = 0
    for group in group_equals(values):
        for i in group:
            places[i] = ahead + 1
        ahead += len(group)
    return places


def find_ranks(values: Sequence[float]) -> Array:
    """Return the rank of each of `values`, float64 [models], 1 for the largest, the mean rank for equals, NaN for NaN.

    Ranks among fewer models are stretched to the full number, so that they can be averaged with those of all.

    >>> find_ranks([0.5, 0.7, 0.5]).tolist()
    [2.5, 1.0, 2.5]
    """
    ranks = np.full(len(values), np.nan)
    ahead = 0
    for group in group_equals(values):
        ranks[group] = ahead + (len(group) + 1) / 2
        ahead += len(group)
    stretched: Array = (ranks - 0.5) / max(ahead, 1) * len(values) + 0.5
    return stretched


def mean_rank(columns: Sequence[Sequence[float]]) -> Array:
    """Return each model's mean rank over `columns` of values [scores][models], 1 is best: float64 [models].

    A model's mean is over the columns that have it; NaN where none has.

    >>> mean_rank([[0.5, 0.7, 0.6], [3.0, 2.0, 1.0]]).tolist()
    [2.0, 1.5, 2.5]
    """
    ranks = np.array([find_ranks(values) for values in columns])
    number = np.isfinite(ranks).sum(axis=0)
    means: Array = np.divide(np.nansum(ranks, axis=0), number, out=np.full(len(number), np.nan), where=number > 0)
    return means
