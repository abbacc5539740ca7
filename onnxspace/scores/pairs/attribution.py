"""Affinity of two models: the mean over images of the cosine between their attribution maps.

Song et al., "Deep Model Transferability from Attribution Maps" (NeurIPS 2019). `onnxspace.similarity.gram` computes it for many
models from files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import as_table_pair, split_rows, unit_rows


def attribution(maps_a: ArrayLike, maps_b: ArrayLike) -> float:
    """Return the mean cosine of two models' maps, −1 to 1, larger is better.

    `maps_a` and `maps_b` [images, …] have equal sizes, such as [images, height, width]. A map of zeros has no direction: its
    cosine is 0. Raises ConfigError where sizes or numbers of images differ.

    >>> round(attribution([[1.0, 0], [0, 1]], [[1.0, 0], [1, 1]]), 3)
    0.854
    """
    return mean_cosine(*as_table_pair(maps_a, maps_b, "maps"), "maps")


def mean_cosine(a: NDArray[Any], b: NDArray[Any], name: str) -> float:
    """Return the mean cosine of the rows of two tables [rows, columns], computed in blocks; `name` is used in messages.

    Raises ConfigError where the numbers of columns differ.
    """
    if a.shape[1] != b.shape[1]:
        raise ConfigError(f"The two models' {name} have {a.shape[1]} and {b.shape[1]} numbers per image; use the same size.")
    total = 0.0
    for rows in split_rows(*a.shape):
        units = (unit_rows(part[rows].astype(np.float64)) for part in (a, b))
        total += float(np.einsum("nd,nd->", *units))
    return float(np.clip(total / len(a), -1.0, 1.0))
