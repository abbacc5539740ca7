"""Images of natural statistics, on which candidates for a network's pixels are compared: generated, so that every file has the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.probes import Probes

_CHROMA, _MEAN, _DEVIATION = 2.0, (0.485, 0.456, 0.406), 0.26
Values = NDArray[np.float64]


def draw_natural_images(count: int, size: int) -> NDArray[np.uint8]:
    """Draw `count` generated images with the low-order statistics of photos: uint8 [count, size, size, 3], RGB.

    Generated images have less colour and more detail at the scale of a pixel than photos. They are smoothed by [1 2 1] / 4, their
    colour is doubled, and each channel of the set gets ImageNet's mean and a standard deviation of .26 (of [0, 1]).
    """
    values = _smooth(_smooth(Probes.generate(count, size).images / 255, 1), 2)
    luma = values.mean(axis=-1, keepdims=True)
    values = luma + _CHROMA * (values - luma)
    values = (values - values.mean(axis=(0, 1, 2))) / values.std(axis=(0, 1, 2)) * _DEVIATION + np.asarray(_MEAN)
    pixels: NDArray[np.uint8] = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return pixels


def _smooth(values: Values, axis: int) -> Values:
    last = values.shape[axis] - 1
    before, after = (np.clip(np.arange(last + 1) + step, 0, last) for step in (-1, 1))
    smoothed: Values = (np.take(values, before, axis) + 2 * values + np.take(values, after, axis)) / 4
    return smoothed
