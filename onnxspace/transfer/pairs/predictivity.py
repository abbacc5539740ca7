"""Linear predictivity: how much of what a network answers can be read, linearly, from another network's features.

The target's own network stands for labels, so this is the transfer itself with a readout in closed form: a frozen source, a
linear readout on its features, trained on some images and judged on others. The measure is that of neural encoding models
(Yamins et al., "Performance-optimized hierarchical models predict neural responses in higher visual cortex", PNAS 2014, there
of neurons); `docs/minitaskonomy.md` shows how well it predicts transfer between networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.transfer.arrays import Array, table
from onnxspace.transfer.grids import SIDE, coarse, in_positions, is_picture, leading, neighbourhoods, patches

#: Ridges, as shares of the mean eigenvalue of the features' products; the best one counts.
RIDGES = (1e-4, 1e-2, 1.0)
#: Directions that are kept: of a position's outputs, and of the features' channels.
ANSWERS, CHANNELS = 64, 128
FEWEST = 4


def predictivity(outputs: ArrayLike, features: ArrayLike) -> float:
    """R² of the target's outputs as predicted from a source's features on images that the readout did not see: up to 1, larger is better.

    `outputs` are the target network's [images, …] and `features` the source's at its encoder, of the same images, 4 or more: a
    score in one direction. The images are halved, each half being predicted from the other. Where both have positions,
    [images, channels, height, width], the readout is a 3 × 3 convolution on a grid of 8 × 8, which predicts the 64 leading
    directions of the outputs in each of its squares; features are reduced to the 128 leading directions of their
    channels. Outputs without positions are predicted from the features' means over a grid of 2 × 2, and features without
    positions predict each position by weights of its own.
    Raises ConfigError for other shapes, too few images, and outputs that are the same for every image.
    """
    return Source(features).predicts([Answers.of(outputs)])[0]


@dataclass(frozen=True)
class Answers:
    """What is to be predicted: float64 rows [images · positions, columns], centred; one position where outputs have none."""

    rows: Array
    images: int

    @property
    def dense(self) -> bool:
        return len(self.rows) > self.images

    @classmethod
    def of(cls, outputs: ArrayLike) -> Answers:
        """Of a network's outputs [images, …]. Raises ConfigError."""
        values = _checked(outputs, "outputs")
        rows = leading(patches(values), ANSWERS) if is_picture(values.shape) else leading(table(values).astype(np.float64))
        if not np.any(rows):
            raise ConfigError("The target's outputs are the same for every image, so there is nothing to predict.")
        return cls(rows, len(values))


class Source:
    """A source's features, ready to predict any target's outputs."""

    def __init__(self, features: ArrayLike) -> None:
        values = _checked(features, "features")
        self.images = len(values)
        placed = in_positions(values)
        if placed is None:
            self.near, self.whole = None, leading(table(values).astype(np.float64), CHANNELS * 9)
        else:
            reduced = _reduced(placed)
            self.near, self.whole = neighbourhoods(reduced), coarse(reduced)

    def predicts(self, wanted: Sequence[Answers]) -> list[float]:
        """R² for each. Raises ConfigError where something is of other images."""
        return [one.share for one in self.parts(wanted)]

    def parts(self, wanted: Sequence[Answers]) -> list[Parts]:
        """What R² is made of, image by image, for each. Raises ConfigError where something is of other images."""
        if any(one.images != self.images for one in wanted):
            raise ConfigError(
                "The target's outputs and the source's features are of different images; make both from the same."
            )
        found: dict[int, Parts] = {}
        for dense in (True, False):
            places = [place for place, one in enumerate(wanted) if one.dense is dense]
            found |= zip(places, self._parts([wanted[place].rows for place in places], dense), strict=True)
        return [found[place] for place in range(len(wanted))]

    def _parts(self, answers: Sequence[Array], dense: bool) -> list[Parts]:
        if dense and self.near is not None:
            return parts(self.near, answers, self.images)
        return parts(self.whole, [rows.reshape(self.images, -1) for rows in answers], self.images)


class Parts(NamedTuple):
    """Sums of squares of each image, float64 [images]: what the best of the ridges missed, and what there was to be predicted."""

    missed: Array
    there: Array

    @property
    def share(self) -> float:
        """R², up to 1."""
        return 1 - float(self.missed.sum()) / max(float(self.there.sum()), np.finfo(np.float64).tiny)


def parts(features: Array, answers: Sequence[Array], images: int) -> list[Parts]:
    """Ridge regression of one half of the images for the other, both ways, for each of the answers.

    Rows are in the order of the images, equally many for each. Centred are the rows of each half by those of the other.
    """
    each = len(features) // images
    first = np.arange(images) < images // 2
    missed, there = np.zeros((len(answers), len(RIDGES), images)), np.zeros((len(answers), images))
    for train in (first, ~first) if answers else ():
        known = np.repeat(train, each)
        fit = _Ridge(features[known], features[~known])
        for place, rows in enumerate(answers):
            centred = rows - rows[known].mean(axis=0)
            truth = centred[~known]
            there[place, ~train] = _by_image(truth, each)
            missed[place, :, ~train] = np.transpose([_by_image(truth - told, each) for told in fit.predictions(centred[known])])
    best = missed.sum(axis=2).argmin(axis=1)
    return [Parts(missed[place, ridge], there[place]) for place, ridge in enumerate(best)]


def explained(features: Array, answers: Sequence[Array], images: int) -> list[float]:
    """R² over all columns of each of the answers; see `parts`."""
    return [one.share for one in parts(features, answers, images)]


def _by_image(rows: Array, each: int) -> Array:
    """Sums of squares: [images]."""
    sums: Array = np.square(rows).reshape(-1, each * rows.shape[1]).sum(axis=1)
    return sums


class _Ridge:
    """Ridge regression by the eigenvectors of the features' products, or of the rows' where these are fewer."""

    def __init__(self, known: Array, asked: Array) -> None:
        centre = known.mean(axis=0)
        self.known, self.asked = known - centre, asked - centre
        self.dual = len(known) < known.shape[1]
        products = self.known @ self.known.T if self.dual else self.known.T @ self.known
        values, self.vectors = np.linalg.eigh(products)
        mean = max(float(np.trace(products)) / known.shape[1], np.finfo(np.float64).tiny)
        self.inverses = [1 / (np.maximum(values, 0.0) + ridge * mean) for ridge in RIDGES]
        self.turned = (self.asked @ self.known.T if self.dual else self.asked) @ self.vectors

    def predictions(self, answers: Array) -> list[NDArray[np.float64]]:
        """For centred answers of the known rows, those of the rows that are asked for, with each of the ridges."""
        along = self.vectors.T @ (answers if self.dual else self.known.T @ answers)
        return [self.turned @ (inverse[:, None] * along) for inverse in self.inverses]


def _checked(values: ArrayLike, name: str) -> NDArray[np.float64]:
    found = np.asanyarray(values)
    table(found, name)
    if len(found) < FEWEST:
        raise ConfigError(
            f"Predictivity needs {FEWEST} images, not {len(found)}: a half to learn from, a half to be judged by."
        )
    return found


def _reduced(placed: Array) -> Array:
    """The leading directions of the channels of [images, channels, 8, 8]."""
    if placed.shape[1] <= CHANNELS:
        return placed
    rows = leading(np.moveaxis(placed, 1, -1).reshape(-1, placed.shape[1]), CHANNELS)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(len(placed), SIDE, SIDE, -1), -1, 1))
