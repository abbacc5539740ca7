"""Whether weights were limited to a range, rounded to multiples of a step, or replaced by a few values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.weight_records import WeightChange, measure_gap

Array = NDArray[np.float64]
#: Relative difference up to which weights are equal, and from which on they count as others.
_SAME, _OTHER = 1e-6, 0.7
#: The most different values of weights that were replaced by a few, and how many weights there must be for each.
_MOST_LEVELS, _LEAST_SHARING = 256, 4
#: The least number of weights that a limit cuts off, so that it is no accident.
_LEAST_CUT = 3
#: The least number of multiples, and the most of them between 0 and the largest weight.
_LEAST_STEPS, _MOST_STEPS = 3, 2**15
#: The least number of weights whose multiples are no accident.
_LEAST_WEIGHTS = 8
#: Into how many steps the smallest difference is divided, and the most rows that have a step each.
_MOST_PARTS, _MOST_ROWS = 6, 8192
#: Weights of which some must be multiples before all are sorted.
_SAMPLED = 2**14
#: The part of a step by which multiples may be off, and how far from them the old weights may be.
_OFF, _HALF = 0.01, 0.51


def find_clipping(first: Array, second: Array) -> WeightChange | None:
    """Weights beyond a range that are its ends now, where all others are the same numbers."""
    low, high = float(second.min()), float(second.max())
    cut = int(((first < low) | (first > high)).sum())
    if cut < _LEAST_CUT or low >= high or measure_gap(np.clip(first, low, high), second) > _SAME:
        return None
    return WeightChange("clipped", limits=(low, high), edited=cut)


def find_grid(first: Array, second: Array) -> WeightChange | None:
    """Weights that are the nearest multiples of a step, one for all or one per row, as the old ones are not."""
    if _is_nearest(first, second, step := find_step(second)):
        return WeightChange("requantised", grid=step) if find_step(first) < step / 2 else None
    if first.shape[1] < _LEAST_WEIGHTS or len(first) > _MOST_ROWS:
        return None
    rows = ((one, two) for one, two in zip(first, second, strict=True) if two.any())
    fits = second.any() and all(_is_nearest(one, two, find_step(two)) for one, two in rows)
    return WeightChange("requantised") if fits and not all(map(find_step, first)) else None


def _is_nearest(first: Array, second: Array, step: float) -> bool:
    """Whether weights were moved by half of a step at most."""
    return bool(step) and float(np.abs(second - first).max(initial=0)) <= _HALF * step


def find_step(values: Array) -> float:
    """The step of which all values are multiples; 0 where there is none. The two nearest values may be a few steps apart."""
    if values.size > 2 * _SAMPLED and not find_step(values.reshape(-1)[:: values.size // _SAMPLED]):
        return 0.0
    levels = np.unique(np.abs(values))
    if values.size < _LEAST_WEIGHTS or len(levels) < _LEAST_STEPS or not levels[-1]:
        return 0.0
    gaps = np.diff(np.append(0, levels))
    gap = float(gaps[gaps > levels[-1] / _MOST_STEPS].min(initial=np.inf))
    for part in range(1, _MOST_PARTS + 1) if np.isfinite(gap) else ():
        counts = levels / gap * part
        if (np.abs(counts - np.round(counts)) <= _OFF).all():
            return float(levels[-1] / np.round(counts[-1]))
    return 0.0


def find_levels(first: Array, second: Array) -> WeightChange | None:
    """A few values in the place of many, also among those that are not 0."""
    levels = len(np.unique(second))
    if levels > _MOST_LEVELS or levels * _LEAST_SHARING > np.count_nonzero(second) or len(np.unique(first)) < 2 * levels:
        return None
    return WeightChange("clustered", levels=levels) if measure_gap(first, second) < _OTHER else None
