"""The candidates for a network's pixels, and the images on which they are compared: generated, with the statistics of photos."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.pixel_presets import PRESETS, in_order
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.probes import Probes

#: Presets that are compared: `clip` differs too little from `imagenet` to be told from it, and the others are aliases.
CANDIDATES = ("symmetric", "unit", "byte", "imagenet", "imagenet-bgr-mean")
_LARGEST_SIDE = 256
_CHROMA, _MEAN, _DEVIATION = 2.0, (0.485, 0.456, 0.406), 0.26
Values = NDArray[np.float64]


def list_candidates(preprocess: Preprocess) -> tuple[str, ...]:
    """Names of the presets that a network may have been trained with: those with a mean per channel are for three channels."""
    return tuple(name for name in CANDIDATES if len(PRESETS[name].mean) in (1, preprocess.channels))


def feed_preset(preprocess: Preprocess, name: str) -> Preprocess:
    """The same size, layout and colours with the values of the preset `name`, in the order of the network's colours."""
    preset = PRESETS[name]
    mean, std = (in_order(values, preset.color, preprocess.color) for values in (preset.mean, preset.std))
    return replace(preprocess, scale=preset.scale, mean=mean, std=std)


def draw_pixels(preprocess: Preprocess, count: int) -> NDArray[np.uint8]:
    """Draw `count` natural images at a network's size: uint8 [count, height, width, channels]."""
    side = max(16, min(_LARGEST_SIDE, max(preprocess.height, preprocess.width)))
    return preprocess.pixels(draw_natural_images(count, side))


@lru_cache(maxsize=8)
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
    pixels.flags.writeable = False  # it is shared by all models of a process
    return pixels


def _smooth(values: Values, axis: int) -> Values:
    last = values.shape[axis] - 1
    before, after = (np.clip(np.arange(last + 1) + step, 0, last) for step in (-1, 1))
    smoothed: Values = (np.take(values, before, axis) + 2 * values + np.take(values, after, axis)) / 4
    return smoothed
