"""Features and outputs of any shape on a common grid of positions, so that one network's can be predicted from another's."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.scores.arrays import Array

#: Positions along each side of the grid.
SIDE = 8
_FEW = 64


def has_grid(shape: tuple[int, ...]) -> bool:
    """Return whether outputs of this `shape` [images, …] have positions, at least one for each cell of the 8 × 8 grid."""
    return len(shape) == 4 and min(_spatial_shape(shape)) >= SIDE


def extract_patches(outputs: NDArray[Any]) -> Array:
    """Return each grid cell's pixels as a row: float64 [images · 64, channels · height / 8 · width / 8].

    `outputs` are [images, channels, height, width] or [images, height, width, channels]; a height or width that is not a
    multiple of 8 is reduced to the next smaller multiple by average pooling.
    """
    values = to_channels_first(outputs)
    down, across = (n // SIDE for n in values.shape[2:])
    fitted = average_pool(values, (SIDE * down, SIDE * across))
    parts = fitted.reshape(*fitted.shape[:2], SIDE, down, SIDE, across).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(len(fitted) * SIDE * SIDE, -1)


def as_feature_grid(features: NDArray[Any]) -> NDArray[Any] | None:
    """Return the features of an encoder as [images, channels, height, width]; None where they have no positions.

    Features [images, tokens, channels] are read as a square of tokens, after any class tokens in front.
    """
    if features.ndim == 3:
        root = isqrt(features.shape[1])
        square = features[:, features.shape[1] - root * root :].reshape(len(features), root, root, -1)
        return np.moveaxis(square, -1, 1) if root > 1 else None
    if features.ndim != 4 or max(_spatial_shape(features.shape)) == 1:
        return None
    return to_channels_first(features)


def average_pool(values: NDArray[Any], sides: tuple[int, int]) -> Array:
    """Average `values` [images, channels, height, width] over a grid of `sides` (height, width): float64.

    Along a side of n pixels and m cells, the windows are [⌊i n/m⌋, ⌈(i + 1) n/m⌉). Smaller grids are repeated.
    """
    if values.shape[2:] == sides:
        return values.astype(np.float64)
    if values.shape[2] * values.shape[3] <= _FEW:  # one product is faster than very many small ones
        flat = values.reshape(-1, values.shape[2] * values.shape[3]).astype(np.float64)
        return (flat @ _flat_weights(values.shape[2:], sides)).reshape(*values.shape[:2], *sides)
    rows, columns = (_pooling_weights(n, m) for n, m in zip(values.shape[2:], sides, strict=True))
    return np.ascontiguousarray(rows @ values.astype(np.float64) @ columns.T)


def unfold_neighbourhoods(values: Array) -> Array:
    """Return the 3 × 3 neighbourhood of each position as a row, zero-padded: float64 [images · positions, channels · 9].

    `values` is float64 [images, channels, height, width].
    """
    images, channels, high, wide = values.shape
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
    parts = [padded[:, :, i : i + high, j : j + wide] for i in range(3) for j in range(3)]
    return np.concatenate(parts, axis=1).transpose(0, 2, 3, 1).reshape(images * high * wide, channels * 9)


def project_on_principal_axes(rows: Array, most: int | None = None) -> Array:
    """Centre `rows`, float64 [rows, columns], and project them on their principal axes: [rows, at most `most`].

    Where `most` is None, no variance is lost. Rows that already have few enough columns are only centred.
    """
    centred: Array = rows - rows.mean(axis=0)
    if rows.shape[1] <= (len(rows) if most is None else most):
        return centred
    if len(rows) < rows.shape[1]:  # there are at most as many principal axes as rows
        values, vectors = np.linalg.eigh(centred @ centred.T)
        along: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    else:
        along = centred @ np.linalg.eigh(centred.T @ centred)[1]
    return along[:, ::-1][:, :most]


def to_channels_first(values: NDArray[Any]) -> NDArray[Any]:
    """Return `values`, with channels in either position, as [images, channels, height, width]."""
    return np.moveaxis(values, -1, 1) if _is_channels_last(values.shape) else values


def _is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last axis is channels: height and width are adjacent, and closer to each other than to the channels."""
    _, a, b, c = shape
    return max(a, b) * min(b, c) < min(a, b) * max(b, c)


def _spatial_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:3] if _is_channels_last(shape) else shape[2:]


@lru_cache(maxsize=16)
def _flat_weights(shape: tuple[int, ...], sides: tuple[int, int]) -> Array:
    """Weights [pixels, cells] that average pictures of this `shape` (height, width) over a grid of `sides`."""
    rows, columns = (_pooling_weights(n, m) for n, m in zip(shape, sides, strict=True))
    return np.ascontiguousarray(np.kron(rows, columns).T)


def _pooling_weights(n: int, m: int) -> Array:
    """Weights [m, n] that average n pixels over each of m windows."""
    starts, stops = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
    places = np.arange(n)
    inside = (places >= starts[:, None]) & (places < stops[:, None])
    weights: Array = inside / inside.sum(axis=1, keepdims=True)
    return weights
