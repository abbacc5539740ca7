"""Duality-diagram similarity: the correlation of two models' centred matrices of similarities between images.

Dwivedi et al., "Duality Diagram Similarity: a generic framework for initialization selection in task transfer learning" (ECCV
2020). The default is the paper's best variant for the affinities of Taskonomy: cosines of z-scored features.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import as_table, as_table_pair
from onnxspace.scores.hsic import Kernel, correlation, kernel_hsic
from onnxspace.scores.kernels import FeatureRows, gaussian_kernel, laplacian_kernel

Similarity = Literal["cosine", "linear", "laplacian", "gaussian"]
Normalisation = Literal["zscore", "centre", "none"]
#: As a multiple of the median distance, so that γ = 1/(2 · 0.25 · median d²).
_WIDTH = 0.5


def dds(
    features_a: ArrayLike, features_b: ArrayLike, kernel: Similarity = "cosine", normalise: Normalisation = "zscore"
) -> float:
    """Return duality-diagram similarity, from −1 to 1, larger is better; `linear` with `centre` is the biased linear CKA.

    `features_a` and `features_b` [images, dimensions] have later axes flattened, are of 3 images or more, and their dimensions
    may differ. `normalise` centres each dimension and divides it by its standard deviation (`zscore`; constant dimensions
    become 0), only centres it (`centre`), or does neither (`none`). `kernel` is `cosine`, `linear`, `laplacian`, exp(−d/s), or
    `gaussian`, exp(−d²/2s²), d being the Euclidean distance and s half its median. No images × images matrix is made. Raises
    ConfigError where all pairs of images are equally similar, and for other options.

    >>> round(dds([[2.0, 0], [1, 0], [0, 2], [0, 1]], [[2.0, 0, 1], [1, 0, 1], [0, 2, 0], [0, 1, 1]]), 3)
    0.961
    """
    if kernel not in get_args(Similarity) or normalise not in get_args(Normalisation):
        raise ConfigError(
            f"Duality-diagram similarity needs a kernel of {', '.join(get_args(Similarity))} and a normalisation of"
            f" {', '.join(get_args(Normalisation))}, not {kernel!r} and {normalise!r}."
        )
    a, b = as_table_pair(features_a, features_b)
    if len(a) < 3:
        raise ConfigError(f"Duality-diagram similarity needs at least 3 images, not {len(a)}.")
    first, second = (_make_kernel(values, kernel, normalise) for values in (a, b))
    return correlation([kernel_hsic(first, second, len(a), unbiased=False)])


def centred_similarities(features: ArrayLike) -> NDArray[np.float64]:
    """Return the cosines of z-scored `features` [images, …], doubly centred and of unit length: float64 [images, images].

    Raises ConfigError for fewer than 3 images, and where all pairs of images are equally similar.
    """
    values = as_table(features)
    if len(values) < 3:
        raise ConfigError(f"Duality-diagram similarity needs at least 3 images, not {len(values)}.")
    rows = FeatureRows(values, centre=True, scale=True, unit=True)
    products = np.concatenate([np.concatenate([rows.products(a, b) for b in rows.blocks], axis=1) for a in rows.blocks])
    products -= products.mean(axis=0)
    products -= products.mean(axis=1, keepdims=True)
    size = float(np.linalg.norm(products))
    if size <= 1e-12 * len(products):
        raise ConfigError("The features are equally similar for all pairs of images, so there is nothing to compare.")
    return products / size


def correlate_similarities(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the duality-diagram similarity of two models from their `centred_similarities`, from −1 to 1."""
    if len(first) != len(second):
        raise ConfigError(
            f"The two models' features are of {len(first)} and {len(second)} images; compare them on the same images."
        )
    return float(np.clip(np.vdot(first, second), -1.0, 1.0))


def _make_kernel(values: NDArray[Any], kernel: Similarity, normalise: Normalisation) -> Kernel:
    rows = FeatureRows(values, centre=normalise != "none", scale=normalise == "zscore", unit=kernel == "cosine")
    if kernel == "gaussian":
        return gaussian_kernel(rows, _WIDTH)
    return laplacian_kernel(rows, _WIDTH) if kernel == "laplacian" else rows.products
