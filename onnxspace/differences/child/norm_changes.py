"""What became of the parameters of a normalisation: exchanged with each other, other statistics, or a factor per channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.weight_records import WeightChange, measure_gap

Array = NDArray[np.float64]
#: Relative difference up to which parameters are equal, and that of channels which are other ones.
_SAME, _KEPT = 1e-6, 1e-3
_STATISTICS, _AFFINE = frozenset({"mean", "variance"}), frozenset({"scale", "shift"})


def explain_norm(old: LayerWeights, new: LayerWeights) -> WeightChange | None:
    """What became of a normalisation's parameters, None where these rules do not say."""
    if not old.parts or old.parts != new.parts or len(old.bias) != len(new.bias):
        return None
    first, second = _name_parameters(old), _name_parameters(new)
    changed = [name for name in first if measure_gap(first[name], second[name]) > _SAME]
    if (others := _find_exchanged(first, second, changed)) is not None:
        return others
    if changed and _STATISTICS.issuperset(changed):
        return WeightChange("statistics", reset=_are_reset(second) or None)
    if changed and _AFFINE.issuperset(changed) and _is_neutral(second):
        return WeightChange("neutral")
    return _find_scale(first, second, changed)


def _is_neutral(found: Mapping[str, Array]) -> bool:
    """Whether scales are 1 and shifts 0, as before training or where other layers have them."""
    return bool((found["scale"] == 1).all()) and not ("shift" in found and found["shift"].any())


def _name_parameters(layer: LayerWeights) -> dict[str, Array]:
    named = dict(zip(layer.parts, layer.rows.astype(np.float64), strict=True))
    return named | ({"shift": layer.bias.astype(np.float64)} if len(layer.bias) == layer.rows.shape[1] else {})


def _find_exchanged(first: Mapping[str, Array], second: Mapping[str, Array], changed: list[str]) -> WeightChange | None:
    """Two parameters with the values of each other."""
    if len(changed) != 2:
        return None
    one, two = changed
    swapped = measure_gap(first[one], second[two]) <= _SAME and measure_gap(first[two], second[one]) <= _SAME
    return WeightChange("exchanged", exchanged=(one, two)) if swapped else None


def _are_reset(found: Mapping[str, Array]) -> bool:
    """Whether means are 0 and variances 1, as before training."""
    return not found["mean"].any() and bool((found["variance"] == 1).all())


def _find_scale(first: Mapping[str, Array], second: Mapping[str, Array], changed: list[str]) -> WeightChange | None:
    """A scale and a shift with one factor per channel, and equal statistics."""
    if sorted(changed) != ["scale", "shift"] or not first["scale"].all():
        return None
    factors = second["scale"] / first["scale"]
    if measure_gap(second["shift"], factors * first["shift"]) > _KEPT:
        return None
    return WeightChange("scaled", factor=(float(factors.min()), float(factors.max())))
