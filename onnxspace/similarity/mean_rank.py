"""Mean ranks of sources by several scores, as values of which larger is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Values that differ by less count as equal: two exports of one network differ by this much through rounding alone.
TIE = 1e-5
_DECIMALS = 5


def combine_ranks(values: Array) -> Array:
    """Return the mean rank of the columns in each row over several scores, turned so that larger is better: float64 [rows, columns].

    `values` is float64 [scores, rows, columns], larger is better, NaN where there is none. Ties, within 10⁻⁵, have the mean of their ranks. A
    mean rank r among n columns becomes 1 − (r − 1)/(n − 1), and 1 where n is 1. A score without any value in a row does not count
    there; a column without a value by one that does is NaN.

    >>> combine_ranks(np.array([[[3.0, 2.0, 1.0]], [[3.0, 1.0, 2.0]]])).tolist()
    [[1.0, 0.25, 0.25]]
    """
    found = np.full(values.shape[1:], np.nan)
    for row in range(values.shape[1]):
        there = ~np.isnan(values[:, row]).all(axis=1)
        both = ~np.isnan(values[there, row]).any(axis=0)
        count = int(both.sum())
        if there.any() and count:
            ranks = np.mean([_rank_columns(one[both]) for one in values[there, row]], axis=0)
            found[row, both] = 1 - (ranks - 1) / max(1, count - 1)
    return found


def combine_many(values: Array) -> Array:
    """Return `combine_ranks` of many rows that have all their values, faster: float64 [scores, rows, columns] to [rows, columns].

    Values are equal where they are after rounding to 5 decimals.
    """
    ranks = np.mean([_rank_rows(-one.round(_DECIMALS)) for one in values], axis=0)
    found: Array = 1 - (ranks - 1) / max(1, values.shape[2] - 1)
    return found


def _rank_rows(rows: Array) -> Array:
    """Ranks from 1 for the smallest of each row, equal values with the mean of theirs: `scipy.stats.rankdata`, which takes a second to import."""
    order = np.argsort(rows, axis=1, kind="stable")
    changes = np.diff(np.take_along_axis(rows, order, axis=1), axis=1) != 0
    edge, places = np.ones((len(rows), 1), bool), np.arange(rows.shape[1])
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), places, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.hstack([changes, edge]), places, rows.shape[1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(rows.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks


def _rank_columns(row: Array) -> Array:
    """Ranks from 1 for the largest; values that follow each other at no more than `TIE` have the mean of their ranks."""
    order = np.argsort(-row, kind="stable")
    new = np.concatenate([[True], -np.diff(row[order]) > TIE])
    group = np.cumsum(new) - 1
    places = np.arange(1.0, len(row) + 1)
    means = np.bincount(group, places) / np.bincount(group)
    ranks = np.empty(len(row))
    ranks[order] = means[group]
    return ranks
