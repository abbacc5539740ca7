"""Where maps are largest in the pixels of the probe images, and which part of them lies on objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation.faithfulness.formulas import Numbers
from onnxspace.evaluation.faithfulness.localisation import measure_mass, measure_ranks
from onnxspace.inputs.areas import Mask


@dataclass(frozen=True)
class MapsOnObjects:
    """`peaks`, int64 [methods, images, 2], are row and column of the largest value; `mass` and `ranks` float64 [methods, images]."""

    peaks: NDArray[np.int64]
    mass: Numbers
    ranks: Numbers


def compare_with_objects(
    maps: NDArray[np.float32], objects: Sequence[Mask], resizing: Sequence[Numbers], *, by_magnitude: bool
) -> MapsOnObjects:
    """Compare maps, float32 [methods, images, height, width], with the `objects` of each image.

    `resizing` are the matrices [size, height] and [size, width] to the pixels of the probe images. What speaks against the explained
    number is no evidence of an object: of signed maps, positive values count alone, unless `by_magnitude`.
    """
    rows, columns = resizing
    size = len(rows)
    peaks = np.empty((*maps.shape[:2], 2), np.int64)
    mass, ranks = np.full(maps.shape[:2], np.nan), np.full(maps.shape[:2], np.nan)
    for row, image in np.ndindex(*maps.shape[:2]):
        values: Numbers = rows @ maps[row, image].astype(np.float64) @ columns.T
        values = np.abs(values) if by_magnitude else values
        peaks[row, image] = divmod(int(np.argmax(values)), size)
        mask = objects[image]
        if mask is not None:
            mass[row, image] = measure_mass(values.clip(min=0), mask)
            ranks[row, image] = measure_ranks(values, mask)
    return MapsOnObjects(peaks, mass, ranks)
