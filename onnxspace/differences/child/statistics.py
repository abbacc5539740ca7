"""How the values of two tensors differ, added up image by image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layouts import Order

Array = NDArray[Any]
#: The largest number of half precision, and the largest that becomes 0 in it.
_LARGEST_HALF, _SMALLEST_HALF = 65504.0, 2.0**-25
_LEVELS = 127


class PairStatistics:
    """Sums over images of a pair of tensors; `order` is that of the old one's axes, `largest` its largest magnitude.

    `image_errors` has the relative error of each image, infinity where values are not finite.
    """

    def __init__(self, order: Order | None, largest: float) -> None:
        self.order, self.largest = order, largest
        self.count = self.over = self.under = self.saturated = 0
        self.old = self.new = self.both = self.gap = self.worst = 0.0
        self.low, self.high = [math.inf, math.inf], [-math.inf, -math.inf]
        self.bad = False
        self.image_errors: list[float] = []

    def add(self, old: Array, new: Array) -> None:
        """Add the values of an image, both in the new network's order."""
        first, second = (one.astype(np.float32, copy=False).ravel() for one in (old, new))
        whole = bool(np.isfinite(first).all() and np.isfinite(second).all())
        if not whole:
            self.bad = True
            same = np.isfinite(first) & np.isfinite(second)
            first, second = first[same], second[same]
        gap = second - first
        self.worst = max(self.worst, float(np.abs(gap).max(initial=0.0)))
        squares = _square(gap), _square(first), _square(second)
        self.gap, self.old, self.new = self.gap + squares[0], self.old + squares[1], self.new + squares[2]
        self.image_errors.append(_divide(*squares[:2]) if whole else math.inf)
        self.both += float(np.dot(first.astype(np.float64), second)) if len(first) < 2**16 else float(np.dot(first, second))
        self._count_limits(np.abs(first), np.abs(second))
        for place, one in enumerate((first, second)):
            self.low[place] = min(self.low[place], float(one.min(initial=math.inf)))
            self.high[place] = max(self.high[place], float(one.max(initial=-math.inf)))

    def _count_limits(self, old: Array, new: Array) -> None:
        self.count += len(old)
        self.over += int((old > _LARGEST_HALF).sum())
        self.under += int(((old > 0) & (old <= _SMALLEST_HALF)).sum())
        self.saturated += int((new > self.largest * (1 + 0.5 / _LEVELS)).sum())

    @property
    def relative(self) -> float:
        """|new − old| / |old|, infinity where only one of the two has values that are not finite."""
        return _divide(self.gap, self.old)

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the table, with None for what is not defined."""
        length = math.sqrt(self.old * self.new)
        count = max(self.count, 1)
        return {
            "max_error": _finite(self.worst), "relative_error": _finite(self.relative),
            "cosine": max(-1.0, min(1.0, self.both / length)) if length else None,
            "snr_db": 10 * math.log10(self.old / self.gap) if self.old and self.gap else None,
            "old_range": _range(self.low[0], self.high[0]), "new_range": _range(self.low[1], self.high[1]),
            "half_overflow": self.over / count, "half_underflow": self.under / count, "int8_saturated": self.saturated / count,
        }  # fmt: skip


def _square(values: Array) -> float:
    return float(np.dot(values, values)) if len(values) >= 2**16 else float(np.dot(values.astype(np.float64), values))


def _divide(gap: float, old: float) -> float:
    """|new − old| / |old| from squares, infinity where all old values are 0."""
    return math.sqrt(gap / old) if old else (0.0 if not gap else math.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _range(low: float, high: float) -> list[float] | None:
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None
