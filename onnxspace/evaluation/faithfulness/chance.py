"""Maps that know nothing of the network, beside which methods are judged."""

from __future__ import annotations

import numpy as np

from onnxspace.evaluation.faithfulness.formulas import Numbers

#: Rows after those of the methods: a map of random numbers, and one that falls from the centre to the corners.
CHANCE = ("random map", "centre map")


def make_chance_maps(height: int, width: int, random: np.random.Generator) -> Numbers:
    """Return a map of uniform random numbers, and one that falls from 1 at the centre to 0 at the corners: [2, height, width]."""
    return np.stack([random.random((height, width)), make_centre_map(height, width)])


def make_centre_map(height: int, width: int) -> Numbers:
    """Return the map that falls from 1 at the centre to 0 at the corners: [height, width]."""
    rows, columns = (np.linspace(-1, 1, length) for length in (height, width))
    centre: Numbers = 1 - np.hypot(rows[:, None], columns[None, :]) / np.sqrt(2)
    return centre
