"""Maps of activations and attention rollout written from the papers' equations: float64, one number after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def grad_cam(activations: Array, gradient: Array) -> Array:
    """Selvaraju et al. 2017, equations 1 and 2, of one image: [channels, rows, columns] both."""
    found = np.zeros(activations.shape[1:])
    for plane, slope in zip(activations, gradient, strict=True):
        weight = sum(float(g) for g in slope.ravel()) / slope.size
        for i, j in np.ndindex(*found.shape):
            found[i, j] += weight * plane[i, j]
    return np.maximum(found, 0)


def grad_cam_plus(activations: Array, gradient: Array) -> Array:
    """Chattopadhay et al. 2018, equations 8 and 19, for the exponential of the class's value, whose derivatives are e^S gⁿ."""
    found = np.zeros(activations.shape[1:])
    for plane, slope in zip(activations, gradient, strict=True):
        total, weight = float(plane.sum()), 0.0
        for g in slope.ravel():
            below = 2 * g**2 + total * g**3
            weight += (g**2 / below if g != 0 and below != 0 else 0.0) * max(g, 0.0)
        found += weight * plane
    return np.maximum(found, 0)


def layer_cam(activations: Array, gradient: Array) -> Array:
    """Jiang et al. 2021, equation 5."""
    found = np.zeros(activations.shape[1:])
    for k, i, j in np.ndindex(*activations.shape):
        found[i, j] += max(gradient[k, i, j], 0.0) * activations[k, i, j]
    return np.maximum(found, 0)


def rollout(attentions: list[Array]) -> Array:
    """Abnar and Zuidema 2020, of one image: [heads, tokens, tokens] of each layer, the first one first; returns [tokens, tokens]."""
    flow: Array | None = None
    for heads in attentions:
        one = heads.sum(axis=0) / len(heads)
        mixed = np.array([[one[i, j] / 2 + (0.5 if i == j else 0.0) for j in range(len(one))] for i in range(len(one))])
        flow = mixed if flow is None else mixed @ flow
    assert flow is not None
    return flow


def enlarge(grid: Array, size: int) -> Array:
    """Bilinear, with pixels as squares: the value at the centre of each new pixel, of the nearest four old centres."""
    found = np.zeros((size, size))
    rows, columns = grid.shape
    for i, j in np.ndindex(size, size):
        y, x = (i + 0.5) * rows / size - 0.5, (j + 0.5) * columns / size - 0.5
        y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), columns - 1.0)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        v, u = y - top, x - left
        above, below = (1 - u) * grid[top, left] + u * grid[top, right], (1 - u) * grid[bottom, left] + u * grid[bottom, right]
        found[i, j] = (1 - v) * above + v * below
    return found
