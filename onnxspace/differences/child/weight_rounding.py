"""Whether weights were rounded: to half precision, to bfloat16, or to integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.weight_records import WeightChange, measure_gap

Array = NDArray[np.float64]
#: Relative error of half precision, and of bfloat16.
HALF, _BRAIN = 6e-4, 5e-3
#: Relative error of bfloat16 whose numbers were cut off.
_CUT = 8e-3
#: Weights of a row from which on multiples of a step are no accident.
_LEAST_GRID = 8
#: How much further than half a step weights may be from integers whose scale was fitted.
_FITTED = 1.15
#: Relative error of half precision where a rounded scale was multiplied too.
_FOLDED_HALF = 1e-3
#: Significant bits of both, the relative error of products in single precision, and of how many rows how many weights are tried.
_BRAIN_BITS, _HALF_BITS, _SINGLE, _ROWS_TRIED, _WEIGHTS_TRIED = 8, 11, 3e-7, 4, 64
WHOLE = frozenset({"int8", "uint8", "int4", "uint4", "uint2", "int16", "uint16"})


def scale_integers(new: LayerWeights, first: Array, second: Array) -> tuple[LayerWeights, Array]:
    """Integers whose scale other nodes apply, with the scale that fits the old weights best: one for all, or one per row."""
    products, squares = (first * second).sum(1), np.maximum((second * second).sum(1), 1e-30)
    one, each = second * (products.sum() / squares.sum()), second * (products / squares)[:, None]
    shared = measure_gap(first, one) <= 1.5 * measure_gap(first, each)
    factors = products.sum() / squares.sum() if shared else products / squares
    return replace(new, step=_FITTED * float(np.max(np.abs(factors)))), one if shared else each


def is_rounded(old: LayerWeights, new: LayerWeights) -> bool:
    return bool(old.step or new.step) or old.stored != new.stored


def find_rounding(old: LayerWeights, new: LayerWeights, first: Array, second: Array) -> WeightChange | None:
    """Rounding to half precision, bfloat16 or integers, of which no weight is further off than its step allows."""
    length, worst = float(np.linalg.norm(first)), float(np.abs(second - first).max(initial=0))
    if step := old.step + new.step:
        expected = step / np.sqrt(12) * np.sqrt(first.size) / max(length, 1e-30)
        return WeightChange("requantised", rounding=expected) if worst <= 0.51 * step else _find_coarse(first, second, step)
    largest = np.abs(second).max(1, keepdims=True)
    for ends in (largest, largest.max(keepdims=True)):
        if _lies_on_grid(first, second, ends / 127):
            step = float(np.median(ends)) / 127
            return WeightChange("requantised", rounding=step / np.sqrt(12) * np.sqrt(first.size) / max(length, 1e-30))
    limits = {"float16": HALF, "bfloat16": _BRAIN}
    limit = max((limits.get(kind, 0.0) for kind in (old.stored, new.stored)), default=0.0) if old.stored != new.stored else 0.0
    if not limit:
        limit = next((one for name, one in limits.items() if name == new.stored), 0.0)
    limit = limit or _find_kept_rounding(first, second) or _find_folded_rounding(first, second)
    fits = limit and bool((np.abs(second - first) <= limit * np.abs(first) + 6e-8).all())
    return WeightChange("requantised", rounding=limit / np.sqrt(12)) if fits else None


def _find_kept_rounding(first: Array, second: Array) -> float:
    """The relative error of the lower precision whose numbers the new weights are, and the old ones are not, in single precision; 0 without one."""
    if _is_rounded_in(second, _to_brain):
        return 0.0 if _is_rounded_in(first, _to_brain) else _CUT
    with np.errstate(over="ignore"):
        return HALF if _is_rounded_in(second, _to_half) and not _is_rounded_in(first, _to_half) else 0.0


def _find_folded_rounding(first: Array, second: Array) -> float:
    """The relative error of the lower precision of whose numbers each row is a multiple, as where a normalisation was folded after rounding, and the old rows are not; 0 without one."""
    for bits, limit in ((_BRAIN_BITS, _CUT), (_HALF_BITS, _FOLDED_HALF)):
        if _are_scaled_numbers(second, bits):
            return 0.0 if _are_scaled_numbers(first, bits) else limit
    return 0.0


def _are_scaled_numbers(rows: Array, bits: int) -> bool:
    """Whether the longest rows are, with a factor each, numbers of so many significant bits."""
    counts = np.count_nonzero(rows, axis=1)
    longest = np.argsort(counts)[-_ROWS_TRIED:]
    return bool(counts.min() >= _LEAST_GRID) and all(_is_scaled_number(rows[row], bits) for row in longest)


def _is_scaled_number(row: Array, bits: int) -> bool:
    """The largest weight is tried as each number of so many bits, which gives the factor."""
    sizes = np.abs(row[row != 0])
    sizes = sizes[np.argsort(sizes)[-_WEIGHTS_TRIED:]] / sizes.max()
    mantissas = np.frexp(np.arange(2 ** (bits - 1), 2**bits)[:, None] * sizes)[0] * 2**bits
    return bool((np.abs(mantissas - np.round(mantissas)) <= _SINGLE * 2**bits).all(1).any())


def _is_rounded_in(values: Array, convert: Callable[[Array], Array]) -> bool:
    return values.size >= _LEAST_GRID and bool((convert(values) == values).all())


def _to_half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float64)


def _to_brain(values: Array) -> Array:
    """Numbers of single precision without the lower half of their bits."""
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def _lies_on_grid(first: Array, second: Array, steps: Array) -> bool:
    """Whether the new weights are multiples of a step, one per row or one for all, and nowhere further than half of it from the old ones."""
    if second.shape[1] < _LEAST_GRID or not (steps > 0).all():
        return False
    counts = second / steps
    near = np.abs(counts - np.round(counts)).max() <= 0.01
    return bool(near and (np.abs(second - first) <= 0.55 * steps).all())


def _find_coarse(first: Array, second: Array, step: float) -> WeightChange | None:
    """Rounding to integers where a few weights were beyond their range."""
    off = np.abs(second - first) > 0.51 * step
    return (
        WeightChange("requantised", rounding=float("nan")) if off.mean() < 0.05 and measure_gap(first, second) < 0.1 else None
    )
