"""Metrics of two signals: cosines and differences image by image, in whichever order their axes are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.intervals import Interval, interval_of_mean
from onnxspace.checking.values import OPEN, Signal

NO_VALUES = "the baseline does not hold the values themselves; compare with its model file"


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The cosine; 0 where one vector is zero, 1 where both are."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if length == 0:
        return float(not a.any() and not b.any())
    return float(np.clip(a @ b / length, -1, 1))


def signal_cosines(new: Signal, old: Signal) -> NDArray[np.float64] | None:
    """Cosines of two signals image by image, float64 [images]; None where their shapes don't match in any order of axes."""
    turned = align_rows(new, old)
    if turned is None:
        return None
    rows, others = turned
    return np.array([cosine(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(rows, others, strict=True)])


def align_rows(new: Signal, old: Signal) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    """The rows of both signals in one order of axes, or their sketches where one has no rows; None where shapes don't match."""
    sizes, others = drop_unit_axes(new.shape), drop_unit_axes(old.shape)
    if new.rows is None or old.rows is None:
        return (new.sketch, old.sketch) if _fit(sizes, others) else None
    if _fit(sizes, others):
        width = max(new.rows.shape[1], old.rows.shape[1])
        return _widen(new.rows, width), _widen(old.rows, width)
    order = _axis_order(sizes, others)
    if order is None:
        return None
    shaped = new.rows.reshape(len(new.rows), *sizes).transpose(0, *(axis + 1 for axis in order))
    return shaped.reshape(len(new.rows), -1), old.rows


def _widen(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return rows if rows.shape[1] == width else np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def drop_unit_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of size 1."""
    return tuple(size for size in shape if size != 1)


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes are equal, as far as their sizes don't depend on the image."""
    return len(one) == len(other) and all(a == b or OPEN in (a, b) for a, b in zip(one, other, strict=True))


def _axis_order(new: tuple[int, ...], old: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes that moves the channels from front to back, or back to front; None where neither fits."""
    if len(new) != len(old) or len(new) < 2 or OPEN in new:
        return None
    last, first = (*range(1, len(new)), 0), (len(new) - 1, *range(len(new) - 1))
    return next((order for order in (last, first) if tuple(new[axis] for axis in order) == old), None)


def compare_encoders(
    new: Signal | None, old: Signal | None, missing: dict[str, str], intervals: dict[str, Interval]
) -> dict[str, float]:
    """Metrics at the encoder; `missing` and `intervals` are completed."""
    if new is None or old is None:
        return {}
    if (found := signal_cosines(new, old)) is None:
        reason = f"the encoder's output is {describe_shape(new)}, not {describe_shape(old)}"
        missing |= dict.fromkeys(("encoder_cosine", "encoder_relative", "encoder_max"), reason)
        return {}
    intervals["encoder_cosine"] = interval_of_mean(found)
    metrics = {
        "encoder_cosine": float(found.mean()),
        "encoder_relative": float(relative_differences(new.lengths, old.lengths, found).max()),
    }
    if (largest := largest_difference(new, old)) is None:
        missing["encoder_max"] = NO_VALUES
        return metrics
    return {**metrics, "encoder_max": largest}


def largest_difference(new: Signal, old: Signal) -> float | None:
    """The largest difference of any value; None where one signal is a sketch only."""
    if new.rows is None or old.rows is None or (both := align_rows(new, old)) is None:
        return None
    return float(np.abs(both[0] - both[1]).max(initial=0.0))


def squared_differences(
    new: NDArray[np.float64], old: NDArray[np.float64], cosines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """|new − old|² from lengths and the angle between them."""
    return np.asarray(np.maximum(np.square(new) + np.square(old) - 2 * new * old * cosines, 0))


def relative_differences(
    new: NDArray[np.float64], old: NDArray[np.float64], cosines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """|new − old| / |old|; 0 where both are 0."""
    gap = np.sqrt(squared_differences(new, old, cosines))
    return np.asarray(np.where(gap > 0, gap / np.maximum(old, 1e-30), 0.0))


def describe_shape(signal: Signal) -> str:
    """The shape of one image's values in words, such as `7×7×512`."""
    return "×".join("?" if size == OPEN else str(size) for size in signal.shape) or "one value"
