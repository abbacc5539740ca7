"""ModelGiF: similarity of two models' gradient fields along the paths from a baseline to each image.

Song et al., "ModelGiF: Gradient Fields for Model Functional Distance" (ICCV 2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import as_table_pair
from onnxspace.scores.pairs.attribution import mean_cosine


def modelgif(fields_a: ArrayLike, fields_b: ArrayLike) -> float:
    """Return the mean cosine over images and points of the path, −1 to 1, larger is better: 1 minus the paper's distance.

    `fields_a` and `fields_b` [images, points, …] have equal shapes, such as [images, points, height, width]. A field of zeros
    has no direction: its cosine is 0. Raises ConfigError where shapes differ.

    >>> round(modelgif([[[1.0, 0], [0, 1]]], [[[1.0, 0], [1, 1]]]), 3)
    0.854
    """
    shapes = [np.asanyarray(fields).shape for fields in (fields_a, fields_b)]
    if shapes[0] != shapes[1] or len(shapes[0]) < 3 or 0 in shapes[0]:
        raise ConfigError(
            f"Gradient fields need equal shapes [images, points, …], not {list(shapes[0])} and {list(shapes[1])}."
        )
    rows = [np.asanyarray(fields).reshape(-1, int(np.prod(shapes[0][2:]))) for fields in (fields_a, fields_b)]
    return mean_cosine(*as_table_pair(rows[0], rows[1], "gradient fields"), "gradient fields")


def field_distance(fields_a: ArrayLike, fields_b: ArrayLike) -> float:
    """Return the distance of `fields_a` and `fields_b` as in the paper, the mean of 1 − cosine: 0 to 2, smaller is more similar; otherwise as `modelgif`.

    Raises ConfigError for fields of different shapes.

    >>> field_distance([[[1.0, 0], [0, 1]]], [[[1.0, 0], [0, 1]]])
    0.0
    """
    return 1 - modelgif(fields_a, fields_b)
