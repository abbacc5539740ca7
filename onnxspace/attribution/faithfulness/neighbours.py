"""Neighbours of images, and by how much maps change between both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.faithfulness.map_source import MapSource
from onnxspace.attribution.noise import seeds_of
from onnxspace.evaluation.faithfulness.formulas import Numbers, relative_change
from onnxspace.inputs.faithfulness import FaithfulnessSettings

#: The stream of random numbers of neighbours, besides those of `onnxspace.attribution.faithfulness.measure`.
_NEIGHBOURS = 3


def measure_sensitivity(source: MapSource, maps: NDArray[np.float32], settings: FaithfulnessSettings) -> Numbers:
    """Return the largest relative change of each map among the neighbours of its image: float64 [methods, images].

    `maps` are float32 [methods, images, height, width].
    """
    found = np.full(maps.shape[:2], np.nan)
    for row, engine in enumerate(source.iter_engines(share=False)):
        for draw in range(settings.draws):
            images = np.stack([draw_neighbour(image, settings, draw) for image in source.probes.images])
            for first, others in source.compute(engine, images):
                own = maps[row, first : first + len(others)].astype(np.float64)
                part = found[row, first : first + len(others)]
                np.fmax(part, relative_change(own, others.astype(np.float64)), out=part)
    return found


def draw_neighbour(image: NDArray[np.uint8], settings: FaithfulnessSettings, draw: int) -> NDArray[np.uint8]:
    """Draw a neighbour of `image`, uint8 [size, size, bands]: numbers that differ by the settings' radius at most, whole and in 0–255.

    The neighbours `draw` of an image depend on its pixels and the settings' seed alone.
    """
    reach = int(255 * settings.radius)
    random = np.random.default_rng((settings.seed, _NEIGHBOURS, seeds_of(image[None])[0], draw))
    moved = image.astype(np.int64) + random.integers(-reach, reach + 1, image.shape)
    neighbour: NDArray[np.uint8] = np.clip(moved, 0, 255).astype(np.uint8)
    return neighbour
