"""Duality-diagram similarity: the correlation of two models' centred matrices of similarities between images.

Dwivedi et al., "Duality Diagram Similarity: a generic framework for initialization selection in task transfer learning" (ECCV
2020). Their best for the affinities of Taskonomy is the default: cosines of z-scored features.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import as_table_pair
from onnxspace.scores.hsic import Kernel, correlation, kernel_hsic
from onnxspace.scores.kernels import FeatureRows, gaussian_kernel, laplacian_kernel

Similarity = Literal["cosine", "linear", "laplacian", "gaussian"]
Normalisation = Literal["zscore", "centre", "none"]
#: Of the median distance, so that γ = 1/(2 · 0.25 · median d²).
_WIDTH = 0.5


def dds(
    features_a: ArrayLike, features_b: ArrayLike, kernel: Similarity = "cosine", normalise: Normalisation = "zscore"
) -> float:
    """From −1 to 1, larger is better; `linear` with `centre` is the plain linear CKA.

    Features [images, dimensions], later axes flattened, dimensions may differ, of 3 images or more. `normalise` centres each
    dimension and divides it by its standard deviation (0 where it never varies), only centres it, or does neither. With s half the median
    distance, `gaussian` is exp(−d²/2s²) and `laplacian` exp(−d/s), d Euclidean. No images × images matrix is made.
    Raises ConfigError for features that are equally alike for every pair.
    """
    if kernel not in get_args(Similarity) or normalise not in get_args(Normalisation):
        raise ConfigError(
            f"Duality diagrams take a kernel of {', '.join(get_args(Similarity))} and a normalisation of"
            f" {', '.join(get_args(Normalisation))}, not {kernel!r} and {normalise!r}."
        )
    a, b = as_table_pair(features_a, features_b)
    if len(a) < 3:
        raise ConfigError(f"Duality diagrams need 3 images, not {len(a)}.")
    first, second = (_make_kernel(values, kernel, normalise) for values in (a, b))
    return correlation([kernel_hsic(first, second, len(a), unbiased=False)])


def _make_kernel(values: NDArray[Any], kernel: Similarity, normalise: Normalisation) -> Kernel:
    rows = FeatureRows(values, centre=normalise != "none", scale=normalise == "zscore", unit=kernel == "cosine")
    if kernel == "gaussian":
        return gaussian_kernel(rows, _WIDTH)
    return laplacian_kernel(rows, _WIDTH) if kernel == "laplacian" else rows.products
