"""Seeded noise on the pixels of a network's input: the same for an image in every batch, layout and value range."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.preprocess import Preprocess


def seeds_of(images: NDArray[np.uint8]) -> list[int]:
    """Return a seed for each image, uint8 [images, size, size, 3], from its pixels alone: 128 bits of their SHA-256."""
    return [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:16], "little") for image in images]


def pixel_noise(preprocess: Preprocess, seeds: Sequence[int], draw: int, share: float) -> NDArray[np.float32]:
    """Return Gaussian noise whose standard deviation is `share` of the pixel range 0–255, in units of the network's input.

    `seeds` has a seed per image, `draw` numbers the samples of an image. The noise is float32 [images, …] in the network's layout,
    independent for each pixel and channel of its input.
    """
    shape = (preprocess.height, preprocess.width, preprocess.channels)
    drawn = [np.random.default_rng((seed, draw)).standard_normal(shape, dtype=np.float32) for seed in seeds]
    noise = np.stack(drawn)[..., ::-1] if preprocess.color == "BGR" else np.stack(drawn)
    slope = 255 * share * preprocess.scale / np.asarray(preprocess.std)
    scaled = (noise * slope).astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2) if preprocess.layout == "NCHW" else scaled)
