"""The Hilbert–Schmidt independence criterion (HSIC) of two kernels, from sums over blocks of images.

The biased estimate is tr(KHLH), H being the centring matrix. The unbiased one, with the diagonals of K and L set to 0, is
(Song et al. 2012, equation 5):
[tr(KL) + 1ᵀK1·1ᵀL1/((n−1)(n−2)) − 2/(n−2)·1ᵀKL1] / (n(n−3)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, split_rows
from onnxspace.scores.kernels import FeatureRows

#: Returns the values of a kernel between two slices of images: float64 [left, right].
Kernel = Callable[[slice, slice], Array]
_BLOCK = 512


class Hsic(NamedTuple):
    """HSIC of the `first` kernel with itself, of both, and of the `second` with itself."""

    first: float
    both: float
    second: float


def correlation(parts: Sequence[Hsic]) -> float:
    """Return Σ HSIC(K, L) / √(Σ HSIC(K, K) Σ HSIC(L, L)), −1 to 1, summed over `parts`, one per batch.

    Raises ConfigError where a kernel does not vary.
    """
    first, both, second = (float(sum(values)) for values in zip(*parts, strict=True))
    if not min(first, second) > 0:
        raise ConfigError("The features of a model are the same for every image, so they have no correlation with others.")
    return float(np.clip(both / np.sqrt(first) / np.sqrt(second), -1.0, 1.0))


def kernel_hsic(first: Kernel, second: Kernel, images: int, unbiased: bool) -> Hsic:
    """Compute HSIC of two kernels on `images` images, visiting every pair of blocks of images once.

    Memory holds a few blocks, whatever the number of images.
    """
    products, sums = np.zeros(3), np.zeros((2, images))
    stretches = list(split_rows(images, _BLOCK))
    for place, left in enumerate(stretches):
        for right in stretches[place:]:
            values = [kernel(left, right) for kernel in (first, second)]
            for one in values if unbiased and left == right else []:
                np.fill_diagonal(one, 0.0)
            twice = 1 if left == right else 2
            pairs = ((0, 0), (0, 1), (1, 1))
            products += [twice * float(np.einsum("ij,ij->", values[i], values[j])) for i, j in pairs]
            for which, one in enumerate(values):
                sums[which, left] += one.sum(axis=1)
                if left != right:
                    sums[which, right] += one.sum(axis=0)
    return _combine_sums(products, sums, unbiased)


def linear_hsic(first: FeatureRows, second: FeatureRows, unbiased: bool) -> Hsic:
    """Compute HSIC of the linear kernels XXᵀ and YYᵀ, by tr(KL) = |XᵀY|² where XᵀY is the smaller matrix."""
    images, widths = first.images, (first.width, second.width)
    if max(widths) > images:
        return kernel_hsic(first.products, second.products, images, unbiased)
    products = np.array([_squared_norm_of_product(x, y) for x, y in ((first, first), (first, second), (second, second))])
    sums = np.stack([_row_sums(rows) for rows in (first, second)])
    if unbiased:
        own = np.stack(
            [np.concatenate([np.square(rows[part]).sum(axis=1) for part in rows.blocks]) for rows in (first, second)]
        )
        products -= [own[0] @ own[0], own[0] @ own[1], own[1] @ own[1]]
        sums -= own
    return _combine_sums(products, sums, unbiased)


def _squared_norm_of_product(x: FeatureRows, y: FeatureRows) -> float:
    total = np.zeros((x.width, y.width))
    for part in x.blocks:
        left = x[part]
        total += left.T @ (left if x is y else y[part])
    return float(np.einsum("ij,ij->", total, total))


def _row_sums(rows: FeatureRows) -> Array:
    """K1 = X (Xᵀ1)."""
    total = np.sum([rows[part].sum(axis=0) for part in rows.blocks], axis=0)
    return np.concatenate([rows[part] @ total for part in rows.blocks])


def _combine_sums(products: Array, sums: Array, unbiased: bool) -> Hsic:
    count, totals = sums.shape[1], sums.sum(axis=1)
    across = np.array([sums[0] @ sums[0], sums[0] @ sums[1], sums[1] @ sums[1]])
    squares = np.array([totals[0] ** 2, totals[0] * totals[1], totals[1] ** 2])
    if unbiased:
        found = products + squares / ((count - 1) * (count - 2)) - 2 / (count - 2) * across
        found /= count * (count - 3)
    else:
        found = products - 2 / count * across + squares / count**2
    noise = 1e-13 * np.abs(products)
    return Hsic(*(float(value) if abs(value) > least else 0.0 for value, least in zip(found, noise, strict=True)))
