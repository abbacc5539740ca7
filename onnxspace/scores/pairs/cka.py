"""CKA: centred kernel alignment, the correlation of two models' matrices of similarities between images.

Kornblith et al., "Similarity of Neural Network Representations Revisited" (ICML 2019). With few images the biased estimate is
large for any features (.94 for independent features of 512 dimensions at 32 images), so the default is the unbiased one of
Song et al., "Feature Selection via Dependence Maximization" (JMLR 2012); minibatches as in Nguyen et al. (ICLR 2021).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import as_table_pair
from onnxspace.scores.hsic import Hsic, correlation, kernel_hsic, linear_hsic
from onnxspace.scores.kernels import FeatureRows, gaussian_kernel

Kernel = Literal["linear", "rbf"]


def cka(
    features_a: ArrayLike,
    features_b: ArrayLike,
    kernel: Kernel = "linear",
    unbiased: bool = True,
    width: float = 0.5,
    batch: int | None = None,
) -> float:
    """Return CKA, from 0 to 1, larger is better; the unbiased one is about 0 for independent features, and may be below 0.

    `features_a` and `features_b` [images, dimensions] have later axes flattened; their dimensions may differ. The `unbiased`
    estimate needs 4 images, the biased one 2. `kernel` is `linear` or `rbf`, exp(−d²/2s²), s being `width` (above 0) times the
    median distance of two images. `batch` sums HSIC over batches of this many images, in their order, omitting a last batch
    that is too small. Neither an images × images matrix nor a float64 copy of the features is made. Raises ConfigError for
    features that are the same for every image, and for options out of range.

    >>> round(cka([[2.0, 0], [1, 0], [0, 2], [0, 1]], [[0.0, 4], [0, 2], [4, 0], [2, 0]]), 3)
    1.0
    """
    a, b = as_table_pair(features_a, features_b)
    _check(len(a), kernel, unbiased, width, batch)
    step = batch or len(a)
    parts = [slice(start, start + step) for start in range(0, len(a), step) if len(a) - start >= (4 if unbiased else 2)]
    return correlation([_hsic(a[rows], b[rows], kernel, unbiased, width) for rows in parts])


def _hsic(a: NDArray[Any], b: NDArray[Any], kernel: Kernel, unbiased: bool, width: float) -> Hsic:
    if kernel == "linear":
        return linear_hsic(FeatureRows(a), FeatureRows(b), unbiased)
    return kernel_hsic(gaussian_kernel(FeatureRows(a), width), gaussian_kernel(FeatureRows(b), width), len(a), unbiased)


def _check(images: int, kernel: Kernel, unbiased: bool, width: float, batch: int | None) -> None:
    least = 4 if unbiased else 2
    if kernel not in get_args(Kernel):
        raise ConfigError(f"CKA's kernel is {kernel!r} but must be one of {', '.join(get_args(Kernel))}.")
    if not 0 < width < np.inf:
        raise ConfigError(f"CKA's width is {width} but must be above 0.")
    if min(images, batch or images) < least:
        raise ConfigError(f"CKA needs at least {least} images (in a batch too), not {min(images, batch or images)}.")
