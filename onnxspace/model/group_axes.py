"""Where the images lie in the tensors of a network that takes N images at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.model.image_groups import find_image_axes
from onnxspace.model.model import Model

_EXAMPLE = 8  # pixels of a side, which are enlarged


def measure_axes(model: Model, run: Callable[[NDArray[np.float32]], Sequence[Any]], tensors: Sequence[str]) -> tuple[int, ...]:
    """Measure on which axis each of `tensors`, which `run` computes of N images, has the images of `model`.

    `run` takes prepared images, float32 [N, …]. Raises ModelError for a tensor without values of single images.
    """
    bands = max(3, *(band + 1 for band in getattr(model.preprocess, "bands", ())), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (model.images_at_once + 1, _EXAMPLE, _EXAMPLE, bands), np.uint8)
    return find_image_axes(run, model.preprocess(pixels), model.path, tensors)
