"""Linear predictivity: how well a network's outputs can be predicted linearly from another network's features.

The outputs of the target's network replace labels, so this is transfer itself with a readout in closed form: a frozen source
and a linear readout on its features, trained on some images and evaluated on others. The measure is that of neural encoding
models (Yamins et al., "Performance-optimized hierarchical models predict neural responses in higher visual cortex", PNAS 2014,
applied to neurons there); `docs/minitaskonomy.md` shows how well it predicts transfer between networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, as_table
from onnxspace.scores.folds import Index
from onnxspace.scores.grids import (
    SIDE,
    as_feature_grid,
    average_pool,
    extract_patches,
    has_grid,
    project_on_principal_axes,
    unfold_neighbourhoods,
)
from onnxspace.scores.pairs.readout import SumsOfSquares, regress_folds

#: Principal axes that are kept: of a position's outputs, and of the features' channels.
OUTPUTS, CHANNELS = 64, 128
FEWEST = 4
#: Outputs each of which varies by less than this share of its largest value are constant up to rounding.
_ROUNDING = 1e-12


def predictivity(outputs: ArrayLike, features: ArrayLike) -> float:
    """Return R² of the target's outputs, predicted from a source's features on held-out images: up to 1, larger is better.

    `outputs` [images, …] are the target network's, and `features` [images, …] the source's at its encoder, of the same images,
    4 or more; the score is directed. The images are split into four folds by a fixed permutation of their positions, and each
    fold is predicted by a readout trained on the others; the commands split them by their content instead. Where both have positions, [images, channels, height, width], the readout is a 3 × 3 convolution on an 8 × 8 grid,
    which predicts the 64 leading principal components of the outputs in each grid cell; features are reduced to the 128
    leading principal components of their channels. Outputs without positions are predicted from the features averaged over a
    2 × 2 grid, and features without positions predict each position with separate weights. Raises ConfigError for other
    shapes, too few images, and outputs that are the same for every image.

    >>> features = [[2.0, 0], [1, 0], [0, 2], [0, 1]]
    >>> round(predictivity(features, features), 3)
    1.0
    """
    return SourceFeatures(features).explained_shares([TargetOutputs.of(outputs)])[0]


@dataclass(frozen=True)
class TargetOutputs:
    """The outputs to predict: centred `rows`, float64 [images · positions, columns]; one position where outputs have none."""

    rows: Array
    images: int

    @property
    def dense(self) -> bool:
        return len(self.rows) > self.images

    @classmethod
    def of(cls, outputs: ArrayLike) -> TargetOutputs:
        """Prepare a network's `outputs` [images, …]. Raises ConfigError where they can't be predicted."""
        values = _check_images(outputs, "outputs")
        rows = (
            project_on_principal_axes(extract_patches(values), OUTPUTS)
            if has_grid(values.shape)
            else project_on_principal_axes(as_table(values).astype(np.float64))
        )
        constant = bool((np.ptp(values, axis=0) <= _ROUNDING * np.abs(values).max(axis=0)).all())
        return cls.of_rows(np.zeros_like(rows) if constant else rows, len(values))

    @classmethod
    def of_rows(cls, rows: Array, images: int) -> TargetOutputs:
        """Prepare outputs that are `rows` [images · positions, columns] already. Raises ConfigError where they do not vary."""
        if not np.any(rows):
            raise ConfigError("The target's outputs are the same for every image, so there is nothing to predict.")
        return cls(_standardise(rows), images)


class SourceFeatures:
    """A source's `features` [images, …], prepared to predict any target's outputs. Raises ConfigError.

    `folds`, intp [images], is the fold of each image (None: as `draw_folds`). `channels` is the number of all channels, or of
    columns where there are no positions, if `features` are without some that are zero: the ridge depends on their number.
    """

    def __init__(self, features: ArrayLike, folds: Index | None = None, channels: int | None = None) -> None:
        values = _check_images(features, "features")
        self.images, self.values, self.folds, self.channels = len(values), values, folds, channels
        self.picture = as_feature_grid(values)

    @cached_property
    def neighbourhood_rows(self) -> Array | None:
        """The 3 × 3 neighbourhood of each image and position as a row; None where there are no positions."""
        return None if self.picture is None else unfold_features(self.picture)

    @cached_property
    def image_rows(self) -> Array:
        """The features of each image as a row."""
        if self.picture is None:
            return project_on_principal_axes(as_table(_standardise(self.values)), CHANNELS * 9)
        return as_table(_standardise(average_pool(self.picture, (2, 2))))

    def explained_shares(self, wanted: Sequence[TargetOutputs]) -> list[float]:
        """Return R² of each of the outputs `wanted`. Raises ConfigError where they are of different images."""
        return [one.share for one in self.sums_of_squares(wanted)]

    def sums_of_squares(self, wanted: Sequence[TargetOutputs]) -> list[SumsOfSquares]:
        """Return the per-image terms of R² of each of the outputs `wanted`. Raises ConfigError where images differ."""
        if any(one.images != self.images for one in wanted):
            raise ConfigError(
                "The target's outputs and the source's features are of different images; compute both from the same images."
            )
        found: dict[int, SumsOfSquares] = {}
        for dense in (True, False):
            places = [place for place, one in enumerate(wanted) if one.dense is dense]
            if places:
                found |= zip(places, self._sums_of_squares([wanted[place].rows for place in places], dense), strict=True)
        return [found[place] for place in range(len(wanted))]

    def _sums_of_squares(self, answers: Sequence[Array], dense: bool) -> list[SumsOfSquares]:
        if dense and self.neighbourhood_rows is not None:
            return regress_folds(self.neighbourhood_rows, answers, self.images, self.folds, self.count_columns(dense=dense))
        rows = [rows.reshape(self.images, -1) for rows in answers]
        return regress_folds(self.image_rows, rows, self.images, self.folds, self.count_columns(dense=dense))

    def count_columns(self, *, dense: bool) -> int | None:
        """The number of columns with those of channels that are left out; None where none is."""
        if self.channels is None:
            return None
        if self.picture is None:
            return self.channels if self.channels <= CHANNELS * 9 else min(self.images, CHANNELS * 9)
        return 9 * min(self.channels, CHANNELS) if dense else 4 * self.channels


def unfold_features(picture: NDArray[Any]) -> Array:
    """Return `SourceFeatures.neighbourhood_rows` of features [images, channels, height, width]."""
    return unfold_neighbourhoods(_reduce_channels(_standardise(average_pool(picture, (SIDE, SIDE)))))


def _standardise(values: NDArray[Any]) -> Array:
    """Centre each channel, and divide all by their root mean square: float64 within the range of single precision.

    Zero padding beyond the border makes the result depend on a channel's mean, hence the centring.
    """
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    centred = values.astype(np.float64)
    centred -= centred.mean(axis=axes, keepdims=True)
    size = max(float(np.sqrt(np.mean(np.square(centred)))), np.finfo(np.float64).tiny)
    standard: Array = centred / size
    return standard


def _check_images(values: ArrayLike, name: str) -> NDArray[np.float64]:
    found = np.asanyarray(values)
    as_table(found, name)
    if len(found) < FEWEST:
        raise ConfigError(
            f"Predictivity needs at least {FEWEST} images, not {len(found)}: some to train on, others to evaluate on."
        )
    return found


def _reduce_channels(placed: Array) -> Array:
    """The leading principal components of the channels of [images, channels, 8, 8]."""
    if placed.shape[1] <= CHANNELS:
        return placed
    rows = project_on_principal_axes(np.moveaxis(placed, 1, -1).reshape(-1, placed.shape[1]), CHANNELS)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(len(placed), SIDE, SIDE, -1), -1, 1))
