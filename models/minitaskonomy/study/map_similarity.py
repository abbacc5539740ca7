"""Cosines of maps, of maps as they are and of changed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]
Cosines = NDArray[np.float32]
TOKEN = 2**26  # numbers of maps that are multiplied at once


def normalise(maps: Maps) -> Maps:
    """Maps [..., pixels] of unit length; a zero map stays zero."""
    length = np.sqrt(np.square(maps, dtype=np.float64).sum(axis=-1, keepdims=True))
    found: Maps = np.divide(maps, length, out=np.zeros_like(maps), where=length > 0)
    return found


def compute_cosines(maps: Maps) -> Cosines:
    """Cosines of every two models on each image, float32 [images, pairs], of maps [images, models, pixels]."""
    images, models, pixels = maps.shape
    upper = np.triu_indices(models)
    found = np.empty((images, len(upper[0])), np.float32)
    step = max(1, TOKEN // (models * pixels))
    for start in range(0, images, step):
        part = normalise(maps[start : start + step])
        found[start : start + step] = (part @ part.transpose(0, 2, 1))[:, *upper]
    return found


def pool(maps: Maps, side: int) -> Maps:
    """Means over squares: [images, models, side²] of square maps whose side is a multiple of `side`."""
    images, models, pixels = maps.shape
    whole = int(np.sqrt(pixels))
    parts = maps.reshape(images, models, side, whole // side, side, whole // side)
    found: Maps = parts.mean(axis=(3, 5)).reshape(images, models, side * side)
    return found


def _subtract_mean(maps: Maps) -> Maps:
    found: Maps = maps - maps.mean(axis=-1, keepdims=True)
    return found


def _subtract_mean_map(maps: Maps) -> Maps:
    """Unit maps less each model's mean over the images: where it looks on any image says nothing of this one."""
    unit = normalise(maps)
    found: Maps = unit - unit.mean(axis=0)
    return found


#: What is done to maps before the cosine, besides nothing; none of it sees labels.
CHANGES: dict[str, Callable[[Maps], Maps]] = {
    "absolute": np.abs,
    "squared": np.square,
    "root": lambda maps: np.sign(maps) * np.sqrt(np.abs(maps)),
    "less its mean": _subtract_mean,
    "absolute, less its mean": lambda maps: _subtract_mean(np.abs(maps)),
    "16 x 16": lambda maps: pool(maps, 16),
    "8 x 8": lambda maps: pool(maps, 8),
    "absolute, 16 x 16": lambda maps: pool(np.abs(maps), 16),
    "absolute, 8 x 8": lambda maps: pool(np.abs(maps), 8),
    "absolute, 8 x 8, less its mean": lambda maps: _subtract_mean(pool(np.abs(maps), 8)),
    "less the model's mean map": _subtract_mean_map,
}


def unpack_pairs(pairs: NDArray[np.floating[Any]], models: int) -> NDArray[np.float64]:
    """[…, models, models] of […, pairs]."""
    rows, columns = np.triu_indices(models)
    found = np.empty((*pairs.shape[:-1], models, models))
    found[..., rows, columns] = pairs
    found[..., columns, rows] = pairs
    return found


def subtract_common(gram: NDArray[np.float64], of: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cosines [images, models, models] after the mean unit map of the models `of` was taken away from every one's.

    Products of centred vectors follow from the products alone: ⟨u − m, v − m⟩ = ⟨u, v⟩ − ⟨u, m⟩ − ⟨v, m⟩ + ⟨m, m⟩.
    """
    mean = gram[:, of].mean(axis=1)
    centred = gram - mean[:, :, None] - mean[:, None, :] + mean[:, of].mean(axis=1)[:, None, None]
    length = np.sqrt(np.maximum(np.einsum("nii->ni", centred), 0.0))
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 1e-6)
    found: NDArray[np.float64] = centred * inverse[:, :, None] * inverse[:, None, :]
    return found
