"""Similarity of every layer of one network with every layer of another, a layer at a time: by CKA and by linear predictivity.

Of each layer, CKA keeps one number per pair of images, whatever its width: the unbiased estimate is the cosine of two U-centred
matrices (Székely and Rizzo 2014; equal to Song et al. 2012, equation 5, which `cka` computes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, as_table
from onnxspace.scores.kernels import FeatureRows
from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs

#: Opens a layer's features [images, …]: they are read when they are needed, and dropped.
Load = Callable[[], NDArray[np.float32]]
FEWEST = 4
#: Bytes of the targets that are predicted together, and of one per image: 64 positions with 64 components each.
_TARGETS, _TARGET = 2**28, 64 * 64 * 8
#: Similarities below this share of a layer's squared length are rounding errors of single precision.
_ROUNDING = 1e-13


def compute_cka(sources: Sequence[Load], targets: Sequence[Load], advance: Callable[[], None]) -> Array:
    """Return unbiased linear CKA of each of `sources` with each of `targets`: float64 [sources, targets], −1 to 1.

    NaN where a layer is the same for every image. `advance` is called after every layer. Raises ConfigError for fewer than 4 images.
    """
    rows = [_read_similarities(load, advance) for load in (*sources, *targets)]
    if len({len(row) for row in rows}) > 1:
        raise ConfigError("The layers are of different images; compute them from the same images.")
    units = np.stack(rows)
    found: Array = np.clip(units[: len(sources)] @ units[len(sources) :].T, -1.0, 1.0)
    constant = np.array([not unit.any() for unit in units])
    found[constant[: len(sources)]] = np.nan
    found[:, constant[len(sources) :]] = np.nan
    return found


def _read_similarities(load: Load, advance: Callable[[], None]) -> Array:
    found = centre_similarities(load())
    advance()
    return found


def centre_similarities(features: NDArray[np.float32]) -> Array:
    """Return the U-centred similarities ⟨x_i, x_j⟩ of all pairs of images: a row of unit length, float64 [images · (images − 1) / 2].

    Zero where `features` [images, …] are the same for every image. Raises ConfigError for fewer than 4 images.
    """
    table = as_table(features)
    rows, images = FeatureRows(table), len(table)
    if images < FEWEST:
        raise ConfigError(f"CKA of layers needs at least {FEWEST} images, not {images}.")
    products = rows.products(slice(None), slice(None))
    np.fill_diagonal(products, 0.0)
    sums = products.sum(axis=1)
    products -= (sums[:, None] + sums[None, :]) / (images - 2) - sums.sum() / ((images - 1) * (images - 2))
    upper = products[np.triu_indices(images, 1)]
    length = float(np.sqrt(np.square(upper).sum()))
    whole = float(np.square(table, dtype=np.float64).sum(axis=1).max())
    unit: Array = upper / length if length > _ROUNDING * whole else np.zeros_like(upper)
    return unit


def compute_predictivity(
    sources: Sequence[Load], targets: Sequence[Load], folds: Index, advance: Callable[[], None]
) -> Array:  # fmt: skip
    """Return R² of each of `targets`, predicted linearly from each of `sources` on held-out images: float64 [sources, targets].

    `folds`, intp [images], is the fold of each image. NaN where a target is the same for every image. `advance` is called after every
    source, for each group of targets. Raises ConfigError for fewer than 4 images, and where all images are in one fold.
    """
    found = np.full((len(sources), len(targets)), np.nan)
    step = _count_together(len(folds))
    for start in range(0, len(targets), step):
        prepared = _prepare_targets(targets, range(start, min(start + step, len(targets))))
        for row, load in enumerate(sources):
            if prepared:
                found[row, list(prepared)] = SourceFeatures(load(), folds).explained_shares(list(prepared.values()))
            advance()
    return found


def count_predictions(sources: int, targets: int, images: int) -> int:
    """Return how often `compute_predictivity` calls `advance`."""
    return sources * -(-targets // _count_together(images))


def _count_together(images: int) -> int:
    return max(1, _TARGETS // (images * _TARGET))


def _prepare_targets(targets: Sequence[Load], places: Sequence[int]) -> Mapping[int, TargetOutputs]:
    """The layers that vary, by their places."""
    found: dict[int, TargetOutputs] = {}
    for place in places:
        values = targets[place]()
        if centre_similarities(values).any():
            found[place] = TargetOutputs.of(values)
    return found
