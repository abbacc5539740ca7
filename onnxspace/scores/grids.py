"""Features and outputs of any shape on one grid of positions, so that those of two networks can be told from each other."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.scores.arrays import Array

#: Positions along each side of the grid.
SIDE = 8


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether outputs [images, …] have positions, at least one for each of the grid's."""
    return len(shape) == 4 and min(_spatial(shape)) >= SIDE


def patches(outputs: NDArray[Any]) -> Array:
    """Each position's square of pixels as a row: float64 [images · 64, channels · height / 8 · width / 8].

    Outputs are [images, channels, height, width], or [images, height, width, channels]; a height or width that 8 does not
    divide is brought to the next smaller one that it does by means.
    """
    values = channels_first(outputs)
    down, across = (n // SIDE for n in values.shape[2:])
    fitted = pooled(values, (SIDE * down, SIDE * across))
    parts = fitted.reshape(*fitted.shape[:2], SIDE, down, SIDE, across).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(len(fitted) * SIDE * SIDE, -1)


def as_picture(features: NDArray[Any]) -> NDArray[Any] | None:
    """Features of any encoder as [images, channels, height, width]; None where they have no positions.

    [images, tokens, channels] are a square of tokens, after a class token or several in front.
    """
    if features.ndim == 3:
        root = isqrt(features.shape[1])
        square = features[:, features.shape[1] - root * root :].reshape(len(features), root, root, -1)
        return np.moveaxis(square, -1, 1) if root > 1 else None
    if features.ndim != 4 or max(_spatial(features.shape)) == 1:
        return None
    return channels_first(features)


def pooled(values: NDArray[Any], sides: tuple[int, int]) -> Array:
    """Means of [images, channels, height, width] over the windows [⌊i n/m⌋, ⌈(i + 1) n/m⌉) of m along each side: float64.

    Smaller grids are repeated.
    """
    if values.shape[2:] == sides:
        return values.astype(np.float64)
    rows, columns = (_windows(n, m) for n, m in zip(values.shape[2:], sides, strict=True))
    return np.ascontiguousarray(rows @ values.astype(np.float64) @ columns.T)


def neighbourhoods(values: Array) -> Array:
    """Rows [images · positions, channels · 9] of [images, channels, side, side]: 3 × 3 positions each, zeros beyond the border."""
    images, channels, high, wide = values.shape
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
    parts = [padded[:, :, i : i + high, j : j + wide] for i in range(3) for j in range(3)]
    return np.concatenate(parts, axis=1).transpose(0, 2, 3, 1).reshape(images * high * wide, channels * 9)


def leading(rows: Array, most: int | None = None) -> Array:
    """Centred rows along their directions of most variance: [rows, at most `most`]; all that is there, where `most` is None."""
    centred: Array = rows - rows.mean(axis=0)
    if rows.shape[1] <= (len(rows) if most is None else most):
        return centred
    if len(rows) < rows.shape[1]:  # as many directions as rows hold everything
        values, vectors = np.linalg.eigh(centred @ centred.T)
        along: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    else:
        along = centred @ np.linalg.eigh(centred.T @ centred)[1]
    return along[:, ::-1][:, :most]


def channels_first(values: NDArray[Any]) -> NDArray[Any]:
    """[images, channels, height, width] of either order of axes."""
    return np.moveaxis(values, -1, 1) if _channels_last(values.shape) else values


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Height and width lie side by side, and are nearer to each other than either is to the number of channels."""
    _, a, b, c = shape
    return max(a, b) * min(b, c) < min(a, b) * max(b, c)


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:3] if _channels_last(shape) else shape[2:]


def _windows(n: int, m: int) -> Array:
    """[m, n]: the mean of each window as weights."""
    starts, stops = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
    places = np.arange(n)
    inside = (places >= starts[:, None]) & (places < stops[:, None])
    weights: Array = inside / inside.sum(axis=1, keepdims=True)
    return weights
