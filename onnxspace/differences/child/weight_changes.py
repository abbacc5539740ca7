"""What became of a layer's weights: the same, in another order, scaled, rounded, pruned, trained further, or others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.norm_changes import explain_norm
from onnxspace.differences.child.weight_orders import find_noisy_permutation, find_permutation, find_transposition
from onnxspace.differences.child.weight_records import WeightChange, measure_gap
from onnxspace.differences.child.weight_rounding import HALF, WHOLE, find_rounding, is_rounded, scale_integers
from onnxspace.differences.child.weight_updates import (
    find_addition,
    find_edits,
    find_pruning,
    find_scale,
    find_shift,
    measure_correlation,
    name_change,
)
from onnxspace.differences.child.weight_values import find_clipping, find_grid, find_levels

Array = NDArray[np.float64]
#: Relative difference up to which weights are equal.
SAME = 1e-6
#: How far a bias may be off in errors of rounded weights: one with a normalisation in it is a difference of larger numbers.
_ROUNDED_BIAS = 20
#: Correlation from which on no other order is searched for.
_IN_PLACE = 0.8
#: Smallest relative difference of channels that are other ones.
_KEPT = 1e-3


def compare_weights(old: LayerWeights, new: LayerWeights) -> WeightChange:
    """Compare the weights of two layers."""
    types = (old.stored, new.stored)
    first, second = _to_channels(old), _to_channels(new)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        same = first.shape == second.shape and np.array_equal(first, second, equal_nan=True)
        return WeightChange("equal" if same else "unread", types=types)
    if first.size != second.size or len(first) != len(second):
        return _compare_sizes(first, second, types)
    first, second = first.reshape(len(first), -1), second.reshape(len(second), -1)
    if new.stored in WHOLE and not new.step and old.stored not in WHOLE:
        new, second = scale_integers(new, first, second)
    gap, bias = measure_gap(first, second), _compare_bias(old, new)
    found = next(_explain(old, new, first, second, gap), None) or name_change(first, second)
    if (
        found.kind in ("equal", "requantised")
        and bias > max(HALF, _ROUNDED_BIAS * (found.rounding or 0))
        and not is_rounded(old, new)
    ):
        found = WeightChange("bias" if found.kind == "equal" else "trained", gap)
    values = {**asdict(found), "types": types, "difference": gap, "bias": bias or None}
    return WeightChange(**values)


def _to_channels(layer: LayerWeights) -> Array:
    """The weights [channels, weights of each]."""
    rows = layer.rows.astype(np.float64).reshape(len(layer.rows), -1)
    return rows.T if layer.across else rows


def _compare_sizes(first: Array, second: Array, types: tuple[str, str]) -> WeightChange:
    """Weights of other sizes: the numbers of channels and of weights of each, and how many channels are still there."""
    sizes: tuple[tuple[int, int], tuple[int, int]] = (len(first), len(second)), (first.shape[1], second.shape[1])
    kept = _count_kept(first, second) if first.shape[1] == second.shape[1] else None
    return WeightChange("resized", types=types, outputs=sizes[0], inputs=sizes[1], kept=kept)


def _count_kept(first: Array, second: Array) -> int:
    """The channels of `first` that `second` has, wherever."""
    from scipy.spatial import cKDTree

    gaps = cKDTree(second).query(first)[0]
    return int((gaps <= _KEPT * np.maximum(np.linalg.norm(first, axis=1), 1e-30)).sum())


def _compare_bias(old: LayerWeights, new: LayerWeights) -> float:
    """How far biases are apart relative to the old one; a bias that one of the two lacks is 0 there, or in another node."""
    if len(old.bias) != len(new.bias) or not len(old.bias):
        return 0.0
    gap = measure_gap(old.bias.astype(np.float64), new.bias.astype(np.float64))
    return gap if np.isfinite(gap) else 1.0


def _explain(old: LayerWeights, new: LayerWeights, first: Array, second: Array, gap: float) -> Iterator[WeightChange]:
    """The rules that fit, the simplest first."""
    if gap <= SAME:
        yield WeightChange("equal")
    if (rounded := find_rounding(old, new, first, second)) is not None:
        yield rounded
    rounded_types = is_rounded(old, new)
    for found in (
        explain_norm(old, new),
        find_permutation(first, second),
        find_transposition(first, second),
        None if rounded_types else find_grid(first, second),
        None if rounded_types else find_clipping(first, second),
        None if rounded_types else find_levels(first, second),
        find_pruning(first, second, new.step),
        find_scale(first, second),
        find_shift(first, second),
    ):
        if found is not None:
            yield found
    if not rounded_types and (edited := find_edits(first, second)) is not None:
        yield edited
    if measure_correlation(first, second) < _IN_PLACE and (moved := find_noisy_permutation(first, second)) is not None:
        yield moved
    if (added := find_addition(first, second)) is not None:
        yield added
