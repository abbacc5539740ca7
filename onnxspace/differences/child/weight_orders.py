"""Whether the channels of a layer, or what each of them reads, have another order, be it after further training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.weight_records import WeightChange, measure_gap

Array = NDArray[np.float64]
Order = NDArray[np.intp]
#: Relative difference up to which an order fits exactly.
_FITS = 2e-3
#: Channels that are matched exactly, and those that are assigned to each other, which takes the cube of their number.
_MOST_ROWS, _MOST_ASSIGNED = 8192, 2048
#: Mean cosine of channels that an assignment must reach, how much better than that of accidental ones, and which difference, and part of it, may be left.
_ALIKE, _BETTER, _LEFT = 0.5, 0.15, 0.7
#: Weights of a channel from which on their cosine is no accident.
_LEAST_WEIGHTS = 8
_ROUNDS = 6


def find_permutation(first: Array, second: Array) -> WeightChange | None:
    """Another order of rows, of columns, or of both, that fits much better than the same order."""
    limit = min(_FITS, 0.2 * measure_gap(first, second))
    if max(first.shape) > _MOST_ROWS or measure_gap(np.sort(first, axis=None), np.sort(second, axis=None)) > limit:
        return None
    return _find_order(first, second, lambda one, two: _match_rows(one, two, limit))


def find_transposition(first: Array, second: Array) -> WeightChange | None:
    """Inputs and outputs that have changed places, of a layer with as many of both."""
    rows, columns = first.shape
    if rows < 2 or columns % rows:
        return None
    turned = first.reshape(rows, rows, -1).transpose(1, 0, 2).reshape(first.shape)
    fits = measure_gap(turned, second) <= min(_FITS, 0.2 * measure_gap(first, second))
    return WeightChange("transposed") if fits else None


def _find_order(first: Array, second: Array, match: Callable[[Array, Array], Order | None]) -> WeightChange | None:
    rows, columns = match(first, second), None
    if rows is None and (columns := match(first.T, second.T)) is None:
        rows = match(np.sort(first, axis=1), np.sort(second, axis=1))
        columns = None if rows is None else match(first[rows].T, second.T)
        return None if rows is None or columns is None else WeightChange("permuted", axis="both", moved=count_moved(rows))
    found = columns if rows is None else rows
    return WeightChange(
        "permuted", axis="input" if rows is None else "output", moved=0 if found is None else count_moved(found)
    )


def count_moved(order: Order) -> int:
    return int((order != np.arange(len(order))).sum())


def _match_rows(first: Array, second: Array, limit: float) -> Order | None:
    """For each row of `second` the equal one of `first`; None where that is no permutation."""
    from scipy.spatial import cKDTree

    count = min(first.shape[1], 16)
    draw = (
        np.random.default_rng(0).standard_normal((first.shape[1], count)) if first.shape[1] > count else np.eye(first.shape[1])
    )
    places = cKDTree(first @ draw).query(second @ draw)[1]
    if len(np.unique(places)) < len(places):
        return None
    return np.asarray(places) if measure_gap(first[places], second) <= limit else None


def find_noisy_permutation(first: Array, second: Array) -> WeightChange | None:
    """Another order of rows, of columns, or of both, in which weights are alike; channels are assigned by the cosine of their weights."""
    gap = measure_gap(first, second)
    if max(first.shape) > _MOST_ASSIGNED or min(first.shape) < 2 or not gap:
        return None
    for axis, one, two in (("output", first, second), ("input", first.T, second.T)):
        order = assign_rows(one, two)
        if (left := measure_gap(one[order], two)) <= _LEFT * min(gap, 1) and _are_alike(one[order], two):
            return WeightChange("permuted_trained", axis=axis, moved=count_moved(order), remaining=left)
    return _find_both(first, second, gap)


def _find_both(first: Array, second: Array, gap: float) -> WeightChange | None:
    """Orders of rows and columns, assigned in turns, from the rows whose sorted weights are alike."""
    rows = assign_rows(_describe_rows(first), _describe_rows(second))
    columns = np.arange(first.shape[1])
    for _ in range(_ROUNDS):
        columns = assign_rows(first[rows].T, second.T)
        rows, before = assign_rows(first[:, columns], second), rows
        if (rows == before).all():
            break
    found = first[rows][:, columns]
    if (left := measure_gap(found, second)) > _LEFT * min(gap, 1) or not _are_alike(found, second):
        return None
    return WeightChange("permuted_trained", axis="both", moved=count_moved(rows), remaining=left)


def _describe_rows(rows: Array) -> Array:
    """The sorted weights of each row, by which they are told apart in any order of columns."""
    ordered = np.sort(rows, axis=1)
    return np.asarray(ordered - ordered.mean(0))


def assign_rows(first: Array, second: Array) -> Order:
    """For each row of `second` one of `first`, so that the sum of the cosines is the largest."""
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(_scale(second) @ _scale(first).T, maximize=True)[1])


def _scale(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30))


def _are_alike(first: Array, second: Array) -> bool:
    """Whether rows are more alike than those that accident pairs best."""
    accident = np.sqrt(2 * np.log(max(len(first), 2)) / first.shape[1])
    alike = float((_scale(first) * _scale(second)).sum(1).mean())
    return first.shape[1] >= _LEAST_WEIGHTS and bool(alike >= max(_ALIKE, min(accident + _BETTER, 0.95)))
