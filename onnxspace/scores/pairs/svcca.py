"""SVCCA: canonical correlations of the singular directions that explain most of the features' variance.

Raghu et al., "SVCCA: Singular Vector Canonical Correlation Analysis" (NeurIPS 2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, as_table_pair


def svcca(features_a: ArrayLike, features_b: ArrayLike, variance: float = 0.99, directions: int | None = None) -> float:
    """Return the mean of the canonical correlations, 0 to 1, larger is better.

    `features_a` and `features_b` are [images, dimensions], or [images, channels, height, width] on the same grid, whose
    positions then count as images. The fewest singular directions that explain the share `variance`, in (0, 1], of each are
    kept, or this number of `directions`. Raises ConfigError for options out of range, for features that do not vary, and
    where there are not fewer directions than images minus 1, as every correlation is then 1.

    >>> round(svcca([[1.0], [2], [4], [3]], [[1.0], [2], [4], [5]]), 3)
    0.849
    """
    if not 0 < variance <= 1 or (directions is not None and directions < 1):
        raise ConfigError(f"SVCCA needs a share of variance in (0, 1], or directions from 1, not {variance} and {directions}.")
    tables = as_table_pair(_flatten_positions(features_a), _flatten_positions(features_b))
    bases = [_orthonormal_basis(np.asarray(values, np.float64), variance, directions) for values in tables]
    count = len(tables[0])
    if max(basis.shape[1] for basis in bases) >= count - 1:
        raise ConfigError(
            f"SVCCA of {count} images keeps {count - 1} directions, so it would be 1 for all features; pass more images."
        )
    correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float(np.clip(correlations, 0.0, 1.0).mean())


def _flatten_positions(features: ArrayLike) -> NDArray[Any]:
    found = np.asanyarray(features)
    return np.moveaxis(found, 1, -1).reshape(-1, found.shape[1]) if found.ndim == 4 else found


def _orthonormal_basis(values: Array, variance: float, directions: int | None) -> Array:
    """Orthonormal columns, float64 [images, kept]: left singular vectors of the centred features."""
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    if sizes[0] <= np.finfo(np.float64).eps * max(values.shape) * np.abs(values).max():
        raise ConfigError("The features of a model are the same for every image, so they have no correlation with others.")
    rank = np.count_nonzero(sizes > np.finfo(np.float64).eps * max(values.shape) * sizes[0])
    shares = np.cumsum(np.square(sizes)) / np.square(sizes).sum()
    # The sum of all shares may be rounded to just below 1, and rounding must not add a direction.
    enough = int(np.searchsorted(shares, variance - 1e-12)) + 1
    kept: Array = left[:, : min(directions or enough, rank)]
    return kept
