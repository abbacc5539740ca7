"""What a network's input holds, and how it is to be fed so that its first layer gets other values, in terms of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.bands import BandPreprocess
from onnxspace.inputs.preprocess import Preprocess


def zero_colour(preprocess: Preprocess) -> tuple[float, ...]:
    """The colour, red, green and blue (or grey) from 0 to 255, for which the network's input is 0; it may lie outside."""
    means = np.broadcast_to(np.asarray(preprocess.mean, np.float64), preprocess.channels) / preprocess.scale
    if isinstance(preprocess, BandPreprocess):  # of each colour, the first channel that takes it; black where none does
        takes = {band: float(mean) for band, mean in reversed([*zip(preprocess.bands, means, strict=True)])}
        return tuple(takes.get(band, 0.0) for band in range(3))
    return tuple(float(mean) for mean in (means[::-1] if preprocess.color == "BGR" else means))


def affine_of(preprocess: Preprocess) -> NDArray[np.float64]:
    """Slope and offset of the network's input per channel, [channels, 2]: value = slope · pixel + offset."""
    mean, std = (np.broadcast_to(np.asarray(v, np.float64), preprocess.channels) for v in (preprocess.mean, preprocess.std))
    return np.stack([preprocess.scale / std, -mean / std], axis=1)


def by_colour(pairs: NDArray[np.float64], preprocess: Preprocess) -> tuple[tuple[float, float], ...]:
    """Slopes and offsets per channel in the order red, green, blue."""
    ordered = pairs[::-1] if preprocess.color == "BGR" else pairs
    return tuple((float(slope), float(offset)) for slope, offset in ordered)


def fed_as(preprocess: Preprocess, inner: NDArray[np.float64], fed: Sequence[Sequence[float]]) -> Preprocess | None:
    """The preprocessing with which a first layer gets `fed` (slope and offset per colour) through the network's own steps.

    `inner` is slope and offset per channel of these steps. None where the numbers of channels differ, or a slope is 0.
    """
    target = np.asarray(fed, np.float64)
    if target.shape != (preprocess.channels, 2) or not inner[:, 0].all() or not target[:, 0].all():
        return None
    target = target[::-1] if preprocess.color == "BGR" else target
    std, offset = inner[:, 0] / target[:, 0], (target[:, 1] - inner[:, 1]) / inner[:, 0]
    return replace(preprocess, scale=1.0, mean=tuple(float(v) for v in -offset * std), std=tuple(float(v) for v in std))
