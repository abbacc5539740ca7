"""Intervals of metrics over images: what the same two networks may have on other images of the kind."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Lower and upper end of a 95 % interval.
Interval = tuple[float, float]
_DRAWS, _ENDS, _Z = 1000, (2.5, 97.5), 1.96


def interval_of_mean(values: NDArray[np.float64], centre: float | None = None) -> Interval:
    """The bootstrap interval of the mean of `values` [images], shifted to `centre` where the metric is another estimate of it.

    >>> interval_of_mean(np.ones(8))
    (1.0, 1.0)
    """
    shift = 0.0 if centre is None else centre - float(values.mean())
    low, high = _resample(values, lambda drawn: drawn.mean(axis=1))
    return low + shift, min(high + shift, 1.0)


def interval_of_percentile(values: NDArray[np.float64], percent: float) -> Interval:
    """The bootstrap interval of a percentile of `values` [images]."""
    return _resample(values, lambda drawn: np.percentile(drawn, percent, axis=1))


def _resample(values: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Interval:
    draws = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.percentile(reduce(values[draws]), _ENDS)
    return float(low), float(high)


def interval_of_share(share: float, images: int) -> Interval:
    """Wilson's interval of a share of `images` images.

    >>> [round(end, 3) for end in interval_of_share(1.0, 64)]
    [0.943, 1.0]
    """
    spread = _Z**2 / images
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / images + spread / (4 * images))
    return max(0.0, centre - half), min(1.0, centre + half)
