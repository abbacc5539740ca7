"""Whether an output holds the old values in another order of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.measure_outputs import Pair
from onnxspace.checking.measure_signals import align_rows

_SAME = 0.02
#: Classes and values of each up to which an order is looked for.
_MOST_CLASSES, _MOST_SAMPLES = 2048, 4096
#: Relative difference of moments up to which they count as equal, and cosine from which on values count as equal.
_EQUAL_MOMENTS, _EQUAL_COSINE = 1e-3, 0.99
_NAMED = 3


def describe_permutation(pair: Pair) -> str | None:
    """Words for an output in another order of classes; None where it is not."""
    if pair.new.rows is None or pair.old.rows is None:
        return _describe_by_moments(pair)
    for axis in sorted({0, len(pair.old.shape) - 1}):
        if (order := _find_order(pair, axis)) is not None:
            return _describe_order(order)
    return None


def _find_order(pair: Pair, axis: int) -> NDArray[np.intp] | None:
    """For each class of the old output its place in the new one; None where no other order fits."""
    from scipy.optimize import linear_sum_assignment

    both, shape = align_rows(pair.new, pair.old), pair.old.shape
    if both is None or not shape or not 1 < shape[axis] <= _MOST_CLASSES:
        return None
    new, old = (np.moveaxis(rows.reshape(len(rows), *shape), axis + 1, 0).reshape(shape[axis], -1) for rows in both)
    step = -(-new.shape[1] // _MOST_SAMPLES)
    new, old = new[:, ::step].astype(np.float64), old[:, ::step].astype(np.float64)
    gaps = (old**2).sum(1)[:, None] + (new**2).sum(1)[None] - 2 * old @ new.T
    if not np.isfinite(gaps).all():
        return None
    order = linear_sum_assignment(gaps)[1]
    rest = float(np.linalg.norm(new[order] - old)) / max(float(np.linalg.norm(old)), 1e-30)
    plain = float(np.linalg.norm(new - old)) / max(float(np.linalg.norm(old)), 1e-30)
    fits = rest <= _SAME and rest <= 0.2 * plain
    return np.asarray(order) if fits and (order != np.arange(len(order))).any() else None


def _describe_order(order: NDArray[np.intp]) -> str:
    moved = np.flatnonzero(order != np.arange(len(order)))
    shown = ", ".join(f"{i} is now {order[i]}" for i in moved[:_NAMED])
    more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    return f"holds the old values in another order of classes ({shown}{more})"


def _describe_by_moments(pair: Pair) -> str | None:
    """For sketches: equal lengths, sums and sums of cubes on every image, and other values."""
    new, old = pair.new, pair.old
    if (
        new.rows is None
        or not np.isfinite(old.moments).all()
        or pair.cosines.mean() >= _EQUAL_COSINE
        or max(old.shape, default=1) < 2
    ):
        return None
    scales = [np.abs(row).sum() for row in new.rows], [(np.abs(row.astype(np.float64)) ** 3).sum() for row in new.rows]
    gaps = np.abs(new.moments - old.moments) / np.maximum(np.stack(scales, axis=1), 1e-30)
    lengths = np.abs(new.lengths - old.lengths) / np.maximum(old.lengths, 1e-30)
    if max(gaps.max(), lengths.max()) > _EQUAL_MOMENTS:
        return None
    return "has the old length, sum and sum of cubes on every image: the same values in another order of classes"
