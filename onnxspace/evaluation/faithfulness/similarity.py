"""How similar two maps are, and how complex a map is: for maps of a network and of the same one with random weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxspace.evaluation.faithfulness.formulas import Numbers, rank_correlation

#: Similarities by name: of the magnitudes' ranks, of the ranks with signs, and of structure.
SIMILARITIES = ("magnitude", "signed", "structure")
#: The standard deviation of SSIM's window in pixels, and the constants that keep its quotients finite.
_WINDOW, _SMALL = 1.5, (0.01**2, 0.03**2)
#: Pixels on each side that the window has not wholly inside the map: 3.5 standard deviations, rounded.
_EDGE = 5
_BINS = 100


def compare_maps(one: Numbers, other: Numbers) -> Mapping[str, float]:
    """Return all similarities of two maps [height, width], by the names in `SIMILARITIES`.

    >>> compare_maps(np.eye(16), -np.eye(16))["magnitude"]
    1.0
    """
    return {
        "magnitude": rank_correlation(np.abs(one), np.abs(other)),
        "signed": rank_correlation(one, other),
        "structure": measure_structure(np.abs(one), np.abs(other)),
    }


def measure_structure(one: Numbers, other: Numbers) -> float:
    """Return the mean structural similarity of two maps of magnitudes [height, width], each divided by its largest value.

    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE Transactions on Image Processing 13, 2004, equation 13, with their Gaussian window of 11 × 11 pixels. NaN where `one` is
    constant, and for maps smaller than the window.

    >>> measure_structure(np.eye(16), np.eye(16))
    1.0
    """
    from scipy.ndimage import gaussian_filter

    if np.ptp(one) == 0 or min(one.shape) <= 2 * _EDGE:
        return float("nan")
    x, y = (values / (values.max() or 1.0) for values in (one, other))
    mean_x, mean_y, square_x, square_y, product = (
        gaussian_filter(values, _WINDOW, radius=_EDGE) for values in (x, y, x * x, y * y, x * y)
    )
    light = (2 * mean_x * mean_y + _SMALL[0]) / (mean_x**2 + mean_y**2 + _SMALL[0])
    spread = square_x - mean_x**2 + square_y - mean_y**2
    same = (2 * (product - mean_x * mean_y) + _SMALL[1]) / (spread + _SMALL[1])
    inside = (slice(_EDGE, -_EDGE),) * 2
    return float((light * same)[inside].mean())


def measure_entropy(values: Numbers) -> float:
    """Return the entropy of a histogram of a map's values in 100 bins between its smallest and largest one, in nats; NaN of a constant.

    A. Hedström, L. Weber, S. Lapuschkin, M. M.-C. Höhne, "Sanity checks revisited: an exploration to repair the model parameter
    randomisation test", 2023: the complexity in their efficient test.

    >>> measure_entropy(np.array([0.0, 1.0]))
    0.6931471805599453
    """
    if not np.ptp(values) > 0:
        return float("nan")
    share = np.histogram(values, _BINS)[0] / values.size
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())
