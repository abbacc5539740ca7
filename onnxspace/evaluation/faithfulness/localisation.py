"""Whether maps lie on the objects of their images: the pointing game, and the mass and the ranks inside of boxes or masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation.faithfulness.chance import CHANCE, make_centre_map
from onnxspace.evaluation.faithfulness.formulas import Numbers, rank_pixels
from onnxspace.inputs.areas import Mask


def score_peaks(peaks: NDArray[np.int64], inside: Sequence[Mask]) -> Numbers:
    """Return the pointing game: float64 [methods + 2, images], 1 for a hit, 0 for a miss, NaN for an image without an object.

    `peaks` are row and column of the largest value of each map, int64 [methods, images, 2], `inside` says of each pixel of an image
    whether it is inside of an object. The random map's value is the share of pixels that are, which is what it hits on average. It is
    the accuracy of J. Zhang, S. A. Bargal, Z. Lin, J. Brandt, X. Shen, S. Sclaroff, "Top-down neural attention by excitation backprop",
    IJCV 2018, averaged over images instead of categories.

    >>> score_peaks(np.array([[[0, 1]]]), [np.array([[False, True], [False, False]])]).ravel().tolist()
    [1.0, 0.25, 0.0]
    """
    found = np.full((len(peaks) + len(CHANCE), len(inside)), np.nan)
    for image, mask in enumerate(inside):
        if mask is not None:
            found[: len(peaks), image] = [mask[row, column] for row, column in peaks[:, image].tolist()]
            found[len(peaks) :, image] = mask.mean(), mask[mask.shape[0] // 2, mask.shape[1] // 2]
    return found


def measure_mass(values: Numbers, mask: NDArray[np.bool_]) -> float:
    """Return the sum of a map's values inside of `mask`, relative to the sum of all; NaN where that is 0. `values` are not negative.

    It is the relevance mass accuracy of L. Arras, A. Osman, W. Samek, "CLEVR-XAI: a benchmark dataset for the ground truth evaluation
    of neural network explanations", Information Fusion 81, 2022 and, for boxes, the proportion of the energy-based pointing
    game of H. Wang et al., "Score-CAM: score-weighted visual explanations for convolutional neural networks", CVPR workshops
    2020.

    >>> measure_mass(np.array([[3.0, 1.0]]), np.array([[True, False]]))
    0.75
    """
    total = float(values.sum())
    return float(values[mask].sum()) / total if total > 0 else float("nan")


def measure_ranks(values: Numbers, mask: NDArray[np.bool_]) -> float:
    """Return which part of the K largest values of a map is inside of `mask`, which has K pixels; equal values are in random order.

    It is the relevance rank accuracy of Arras, Osman and Samek. NaN of a constant map.

    >>> measure_ranks(np.array([[3.0, 1.0, 2.0]]), np.array([[True, True, False]]))
    0.5
    """
    if np.ptp(values) == 0:
        return float("nan")
    count = int(mask.sum())
    return float((rank_pixels(values, np.random.default_rng(0))[mask] < count).sum() / count)


def score_chance(objects: Sequence[Mask], measure: Callable[[Numbers, NDArray[np.bool_]], float]) -> Numbers:
    """Return a `measure` of the maps of chance, float64 [2, images]: of the random one the share of the pixels, its mean."""
    found = np.full((len(CHANCE), len(objects)), np.nan)
    for image, mask in enumerate(objects):
        if mask is not None:
            found[:, image] = mask.mean(), measure(make_centre_map(*mask.shape), mask)
    return found
