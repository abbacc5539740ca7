"""Affinity: the mean over images of the cosine between two models' maps, streamed from disk.

With unit maps this is one Gram matrix, `a(i, j) = (1/N) Σ_n ⟨A_i,n, A_j,n⟩`; memory holds one block of columns of all
models, whatever their number and the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.store import open_maps

DEFAULT_MEMORY = 256 * 2**20


def affinity_matrix(
    files: Sequence[Path], memory: int = DEFAULT_MEMORY, progress: Callable[[float], None] | None = None
) -> NDArray[np.float64]:
    """float64 [models, models] from files of unit maps of equal shape; symmetric to the bit, in [−1, 1].

    The diagonal is 1 by definition. `memory` bounds the bytes of one block; `progress` gets the share that is done. Raises
    ValueError where shapes differ.
    """
    images, pixels = _common_shape(files)
    width = max(1, min(pixels, memory // (8 * len(files))))
    rows = max(1, min(images, memory // (8 * len(files) * width)))
    total = np.zeros((len(files), len(files)))
    for start in range(0, images, rows):
        total += _gram(files, slice(start, start + rows), pixels, width)
        if progress is not None:
            progress(min(1.0, (start + rows) / images))
    return _finished(total / images)


def _gram(files: Sequence[Path], rows: slice, pixels: int, width: int) -> NDArray[np.float64]:
    """Sum over some images of the cosines of all pairs, from column blocks of `width`.

    Rows are divided by the lengths they have as stored: float16 leaves a unit row up to 1e-5 off its length.
    """
    columns = [slice(left, left + width) for left in range(0, pixels, width)]
    block = _block(files, rows, columns[0])
    squares = np.einsum("mip,mip->mi", block, block)
    for part in columns[1:]:
        block = _block(files, rows, part, block)
        squares += np.einsum("mip,mip->mi", block, block)
    scale = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))
    total = np.zeros((len(files), len(files)))
    for part in columns:
        block = block if len(columns) == 1 else _block(files, rows, part, block)
        block *= scale[:, :, None]
        flat = block.reshape(len(files), -1)
        total += flat @ flat.T
    return total


def _common_shape(files: Sequence[Path]) -> tuple[int, int]:
    shapes = {open_maps(path).shape for path in files}
    if len(shapes) != 1:
        raise ValueError(f"maps of different probe sets can't be compared: shapes {sorted(shapes)}")
    images, pixels = shapes.pop()
    return int(images), int(pixels)


def _block(
    files: Sequence[Path], rows: slice, columns: slice, reused: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """One slice of every model's maps as float64 [models, images, pixels]; each file is mapped, read and let go."""
    shape = (len(files), *open_maps(files[0])[rows, columns].shape)
    block = reused if reused is not None and reused.shape == shape else np.empty(shape)
    for target, path in zip(block, files, strict=True):
        target[:] = open_maps(path)[rows, columns]
    return block


def _finished(mean: NDArray[Any]) -> NDArray[np.float64]:
    """Exactly symmetric, within [−1, 1], and with the diagonal that the definition gives."""
    even: NDArray[np.float64] = np.clip((mean + mean.T) / 2, -1.0, 1.0)
    np.fill_diagonal(even, 1.0)
    return even
