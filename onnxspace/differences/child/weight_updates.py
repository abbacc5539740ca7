"""Whether weights were pruned, scaled, shifted, or given an addition of low rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.weight_records import WeightChange, measure_gap

Array = NDArray[np.float64]
_FITS = 2e-3
#: Relative difference from which on weights count as others, and the least share of new zeros that counts as pruning.
_OTHER, _LEAST_PRUNED = 0.7, 0.005
#: The largest share of weights that are others where the rest are the same numbers.
_MOST_EDITED = 0.01
#: The largest rank of an addition, the part of it that may be beyond that rank, and the least side of a matrix for each rank.
_MOST_RANK, _BEYOND, _LEAST_SIDE = 64, 1e-3, 4
#: Relative difference up to which weights are those trained further, and the correlation from which on they are.
_NEAR, _CORRELATED = 0.25, 0.5


def find_pruning(first: Array, second: Array, step: float = 0.0) -> WeightChange | None:
    """Weights that are newly 0; with a `step` between two numbers, more of them than rounding gives."""
    least = max(_LEAST_PRUNED, 2 * step / max(float(second.std()), 1e-30))
    zero = (second == 0) & (first != 0)
    share = float(zero.mean())
    kept = measure_gap(np.where(zero, 0, first), second)
    return WeightChange("pruned", pruned=share) if share >= least and kept < _OTHER else None


def find_edits(first: Array, second: Array) -> WeightChange | None:
    """A few weights that are others, where all the rest are the same numbers."""
    count = int((first != second).sum())
    return WeightChange("edited", edited=count) if 0 < count <= _MOST_EDITED * first.size else None


def find_scale(first: Array, second: Array) -> WeightChange | None:
    """A factor per row, or per column, by which all weights differ."""
    for one, two in ((first, second), (first.T, second.T)):
        lengths = (one * one).sum(1)
        factors = (one * two).sum(1) / np.maximum(lengths, 1e-30)
        if one.shape[1] > 1 and measure_gap(two, one * factors[:, None]) <= min(_FITS, 0.2 * measure_gap(one, two)):
            live = factors[lengths > 1e-20]
            return WeightChange("scaled", factor=(float(live.min()), float(live.max()))) if live.size else None
    return None


def find_shift(first: Array, second: Array) -> WeightChange | None:
    """A number per row that was added to all of its weights, which may be scaled as well."""
    if first.shape[1] < 3:
        return None
    one, two = (rows - rows.mean(1, keepdims=True) for rows in (first, second))
    factor = float((one * two).sum() / max(float((one * one).sum()), 1e-30))
    shifts = second.mean(1) - factor * first.mean(1)
    if measure_gap(second, factor * first + shifts[:, None]) > min(_FITS, 0.2 * measure_gap(first, second)):
        return None
    return WeightChange("shifted", shift=(float(shifts.min()), float(shifts.max())), factor=(factor, factor))


def find_addition(first: Array, second: Array) -> WeightChange | None:
    """A matrix of low rank that was added, which its products with random vectors span."""
    gap = second - first
    most = min(_MOST_RANK, min(gap.shape) // _LEAST_SIDE)
    if most < 1 or measure_gap(first, second) >= _OTHER:
        return None
    draw = np.random.default_rng(0).standard_normal((gap.shape[1], most + 8))
    basis = np.linalg.qr(gap @ draw)[0]
    inside = basis.T @ gap
    if measure_gap(gap, basis @ inside) > _BEYOND:
        return None
    sizes = np.linalg.svd(inside, compute_uv=False)
    rank = int((sizes > _BEYOND * sizes[0]).sum())
    return WeightChange("adapted", rank=rank) if rank <= most else None


def name_change(first: Array, second: Array) -> WeightChange:
    """Trained further where weights are near, or deviate from their means alike; else others."""
    near = measure_gap(first, second) < _NEAR
    return WeightChange("trained" if near or measure_correlation(first, second) > _find_bar(first) else "replaced")


def measure_correlation(first: Array, second: Array) -> float:
    """The larger correlation of weights, once the mean of each row, or of each column, is taken away."""
    pairs = [[rows - rows.mean(axis, keepdims=True) for rows in (first, second)] for axis in (0, 1) if first.shape[axis] > 2]
    return max((_cosine(one, two) for one, two in pairs), default=_cosine(first, second))


def _find_bar(first: Array) -> float:
    """The correlation from which on it is no accident."""
    return max(_CORRELATED, min(0.95, float(4 / np.sqrt(first.size))))


def _cosine(first: Array, second: Array) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / lengths if lengths else 0.0
