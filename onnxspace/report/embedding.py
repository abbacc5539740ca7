"""Embed models in a plane by their affinities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Plane:
    """An embedding: `points` float64 [models, 2], and the `share` in [0, 1] of the models' variance that the plane shows.

    `stress` is Kruskal's stress-1, √(Σ(d − d′)² / Σd²) over pairs, d their distance and d′ that in the plane; 0 is exact.
    """

    points: NDArray[np.float64]
    share: float
    stress: float


def embed_in_plane(matrix: NDArray[np.float64]) -> Plane:
    """Embed models in a plane by classical scaling of the distances √(2 − 2a) (Torgerson 1952).

    `matrix` float64 [models, models] holds affinities a. An affinity is the inner product of two models' unit maps, so these are
    Euclidean distances, and the plane is that of the first two principal components. The sign of an axis is chosen so that
    its largest coordinate is positive.
    """
    top = max(1.0, float(matrix.max(initial=0.0)))
    products = (matrix + matrix.T) / (2 * top)
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    values, vectors = np.linalg.eigh(centred)
    values = np.maximum(values[::-1], 0.0)
    vectors = vectors[:, ::-1]
    points = np.zeros((len(matrix), 2))
    for axis in range(min(2, len(matrix))):
        column = vectors[:, axis] * np.sqrt(values[axis])
        points[:, axis] = column * (-1 if column[np.abs(column).argmax()] < 0 else 1)
    total = float(values.sum())
    return Plane(points, float(values[:2].sum()) / total if total > 0 else 1.0, _stress(products, points))


def _stress(products: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    own, drawn = _distances(products), _distances(points @ points.T)
    length = float(np.linalg.norm(own))
    return float(np.linalg.norm(own - drawn)) / length if length > 0 else 0.0


def _distances(products: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.diag(products)
    return np.asarray(np.sqrt(np.maximum(lengths[:, None] + lengths - 2 * products, 0.0)))
