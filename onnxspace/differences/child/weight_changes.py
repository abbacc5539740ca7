"""What became of a layer's weights: the same, in another order, scaled, rounded, pruned, trained further, or others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layer_weights import LayerWeights

Array = NDArray[np.float64]
#: Relative differences up to which weights are equal, and up to which a rule of how they were changed fits.
SAME, _FITS = 1e-6, 2e-3
#: Relative difference from which on weights count as others, and the least share of new zeros that counts as pruning.
_OTHER, _LEAST_PRUNED = 0.7, 0.005
#: Relative error of half precision, and of bfloat16.
_HALF, _BRAIN = 6e-4, 5e-3
_MOST_ROWS = 8192
#: Weights of a row from which on multiples of a step are no accident.
_LEAST_GRID = 8
#: How much further than half a step weights may be from integers whose scale was fitted.
_FITTED = 1.15
_WHOLE = frozenset({"int8", "uint8", "int4", "uint4", "int16", "uint16"})


@dataclass(frozen=True)
class WeightChange:
    """What became of the weights of a layer.

    `kind` is `equal`, `permuted`, `scaled`, `requantised`, `pruned`, `trained`, `replaced`, `resized`, `bias` (only the bias differs),
    `folded` or `folded_wrongly` (a batch normalisation is in the new weights; `cause` says what went wrong), `unfolded` or `unread`. `difference` is |new − old| / |old|; `rounding` the part of it that rounding to the new type explains; `pruned` the share
    of weights that are newly 0; `factor` the smallest and largest factor of channels; `axis` says what is permuted: `output`, `input`
    or `both`; `moved` counts the channels that have another place. `types` are those stored.
    """

    kind: str
    difference: float | None = None
    types: tuple[str, str] = ("", "")
    rounding: float | None = None
    pruned: float | None = None
    factor: tuple[float, float] | None = None
    axis: str | None = None
    moved: int | None = None
    bias: float | None = None
    cause: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def compare_weights(old: LayerWeights, new: LayerWeights) -> WeightChange:
    """Compare the weights of two layers."""
    types = (old.stored, new.stored)
    if old.rows.size != new.rows.size or old.rows.shape[0] != new.rows.shape[0]:
        return WeightChange("resized", types=types)
    first, second = (
        old.rows.astype(np.float64).reshape(len(old.rows), -1),
        new.rows.astype(np.float64).reshape(len(new.rows), -1),
    )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return WeightChange("unread", types=types)
    if new.stored in _WHOLE and not new.step and old.stored not in _WHOLE:
        new, second = _scale_integers(new, first, second)
    gap = measure_gap(first, second)
    bias = _compare_bias(old, new)
    found = next(_explain(old, new, first, second, gap), None) or _name_change(first, second, gap)
    if found.kind in ("equal", "requantised") and bias > max(_HALF, 4 * SAME) and not _is_rounded(old, new):
        found = WeightChange("bias" if found.kind == "equal" else "trained", gap)
    values = {**asdict(found), "types": types, "difference": gap, "bias": bias or None}
    return WeightChange(**values)


def _scale_integers(new: LayerWeights, first: Array, second: Array) -> tuple[LayerWeights, Array]:
    """Integers whose scale other nodes apply, with the scale that fits the old weights best: one for all, or one per row."""
    products, squares = (first * second).sum(1), np.maximum((second * second).sum(1), 1e-30)
    one, each = second * (products.sum() / squares.sum()), second * (products / squares)[:, None]
    shared = measure_gap(first, one) <= 1.5 * measure_gap(first, each)
    factors = products.sum() / squares.sum() if shared else products / squares
    return replace(new, step=_FITTED * float(np.max(np.abs(factors)))), one if shared else each


def measure_gap(first: Array, second: Array) -> float:
    """|second − first| / |first|."""
    length = float(np.linalg.norm(first))
    gap = float(np.linalg.norm(second - first))
    return gap / length if length else (0.0 if not gap else float("inf"))


def _compare_bias(old: LayerWeights, new: LayerWeights) -> float:
    """How far biases are apart relative to the old one; a bias that one of the two lacks is 0 there, or in another node."""
    if len(old.bias) != len(new.bias) or not len(old.bias):
        return 0.0
    gap = measure_gap(old.bias.astype(np.float64), new.bias.astype(np.float64))
    return gap if np.isfinite(gap) else 1.0


def _is_rounded(old: LayerWeights, new: LayerWeights) -> bool:
    return bool(old.step or new.step) or old.stored != new.stored


def _explain(old: LayerWeights, new: LayerWeights, first: Array, second: Array, gap: float) -> Iterator[WeightChange]:
    """The rules that fit, the simplest first."""
    if gap <= SAME:
        yield WeightChange("equal")
    if (rounded := _find_rounding(old, new, first, second)) is not None:
        yield rounded
    if (permuted := _find_permutation(first, second)) is not None:
        yield permuted
    if (pruned := _find_pruning(first, second)) is not None:
        yield pruned
    if (scaled := _find_scale(first, second)) is not None:
        yield scaled


def _find_rounding(old: LayerWeights, new: LayerWeights, first: Array, second: Array) -> WeightChange | None:
    """Rounding to half precision, bfloat16 or integers, of which no weight is further off than its step allows."""
    length, worst = float(np.linalg.norm(first)), float(np.abs(second - first).max(initial=0))
    if step := max(old.step, new.step):
        expected = step / np.sqrt(12) * np.sqrt(first.size) / max(length, 1e-30)
        return WeightChange("requantised", rounding=expected) if worst <= 0.51 * step else _find_coarse(first, second, step)
    if _lies_on_grid(first, second):
        return WeightChange(
            "requantised",
            rounding=float(np.median(np.abs(second).max(1))) / 127 / np.sqrt(12) * np.sqrt(first.size) / max(length, 1e-30),
        )
    limits = {"float16": _HALF, "bfloat16": _BRAIN}
    limit = max((limits.get(kind, 0.0) for kind in (old.stored, new.stored)), default=0.0) if old.stored != new.stored else 0.0
    if not limit:
        limit = next((one for name, one in limits.items() if name == new.stored), 0.0)
    fits = limit and bool((np.abs(second - first) <= limit * np.abs(first) + 6e-8).all())
    return WeightChange("requantised", rounding=limit / np.sqrt(12)) if fits else None


def _lies_on_grid(first: Array, second: Array) -> bool:
    """Whether the new weights are multiples of a step per row, of which there are 127 at most, and nowhere further than half of it from the old ones."""
    steps = np.abs(second).max(1, keepdims=True) / 127
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


def _find_pruning(first: Array, second: Array) -> WeightChange | None:
    zero = (second == 0) & (first != 0)
    share = float(zero.mean())
    kept = measure_gap(np.where(zero, 0, first), second)
    return WeightChange("pruned", pruned=share) if share >= _LEAST_PRUNED and kept < _OTHER else None


def _find_scale(first: Array, second: Array) -> WeightChange | None:
    """A factor per row, or per column, by which all weights differ."""
    for one, two in ((first, second), (first.T, second.T)):
        lengths = (one * one).sum(1)
        factors = (one * two).sum(1) / np.maximum(lengths, 1e-30)
        if one.shape[1] > 1 and measure_gap(two, one * factors[:, None]) <= min(_FITS, 0.2 * measure_gap(one, two)):
            live = factors[lengths > 1e-20]
            return WeightChange("scaled", factor=(float(live.min()), float(live.max()))) if live.size else None
    return None


def _find_permutation(first: Array, second: Array) -> WeightChange | None:
    """Another order of rows, of columns, or of both, that fits much better than the same order."""
    limit = min(_FITS, 0.2 * measure_gap(first, second))
    if max(first.shape) > _MOST_ROWS or measure_gap(np.sort(first, axis=None), np.sort(second, axis=None)) > limit:
        return None
    rows, columns = _match_rows(first, second, limit), None
    if rows is None and (columns := _match_rows(first.T, second.T, limit)) is None:
        rows = _match_rows(np.sort(first, axis=1), np.sort(second, axis=1), limit)
        columns = None if rows is None else _match_rows(first[rows].T, second.T, limit)
        return None if rows is None or columns is None else WeightChange("permuted", axis="both", moved=_count_moved(rows))
    found = columns if rows is None else rows
    return WeightChange(
        "permuted", axis="input" if rows is None else "output", moved=0 if found is None else _count_moved(found)
    )


def _count_moved(order: NDArray[np.intp]) -> int:
    return int((order != np.arange(len(order))).sum())


def _match_rows(first: Array, second: Array, limit: float) -> NDArray[np.intp] | None:
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


def _name_change(first: Array, second: Array, gap: float) -> WeightChange:
    return WeightChange("trained" if gap < _OTHER and _cosine(first, second) > 0.5 else "replaced")


def _cosine(first: Array, second: Array) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / lengths if lengths else 0.0
