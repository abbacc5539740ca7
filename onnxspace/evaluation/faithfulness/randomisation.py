"""What is left of maps when weights are random, and which maps that leaves as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxspace.evaluation.faithfulness.formulas import Numbers

#: Rank correlation of magnitudes with a map of the network whose weights are all random, from which on a map has not changed.
UNCHANGED = 0.7


@dataclass(frozen=True, eq=False)
class Randomisation:
    """Similarities of maps with those of the network whose last `layers` layers are randomised, float64 [methods, stages, images].

    `correlations` are Spearman's of the maps' magnitudes, `signed` the same of the maps themselves, `structure` SSIM of the magnitudes;
    `entropies`, float64 [methods, images, 2], are those of the maps and of the maps of the network whose weights are all random.
    """

    layers: tuple[int, ...]
    correlations: Numbers
    signed: Numbers
    structure: Numbers
    entropies: Numbers

    @classmethod
    def without(cls, methods: int) -> Randomisation:
        """Return that of so many methods of which nothing was randomised."""
        none = np.empty((methods, 0, 1))
        return cls((), none, none, none, np.full((methods, 1, 2), np.nan))

    def mean_cascade(self) -> Numbers:
        """Return the mean of `correlations` over images, float64 [methods, stages], NaN without an image that has one."""
        return average(self.correlations)

    def mean_rise(self) -> Numbers:
        """Return how much larger the entropy of maps is when all weights are random, relative to it: float64 [methods].

        It is the efficient test of Hedström et al. 2023; it is above 0 for maps that become more complex. Means over images, NaN
        without an image that has one.
        """
        before, after = self.entropies[..., 0], self.entropies[..., 1]
        rise = np.divide(after - before, before, out=np.full(before.shape, np.nan), where=before > 0)
        return average(rise)

    def describe_unchanged(self) -> tuple[str, ...]:
        """Return what is to be said of each method, empty where its maps change.

        >>> same = np.ones((1, 1, 2))
        >>> Randomisation((3,), same, same, same, np.ones((1, 2, 2))).describe_unchanged()[0][:35]
        'keep a rank correlation of 1.00 whe'
        """
        ends, signed = (
            average(values)[:, -1] if self.layers else np.full(len(values), np.nan)
            for values in (self.correlations, self.signed)
        )
        return tuple(_describe(float(end), float(other)) for end, other in zip(ends, signed, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the means over images as an object for `json.dumps`."""
        return {
            "layers": list(self.layers), "correlations": to_lists(self.mean_cascade()), "signed": to_lists(average(self.signed)),
            "structure": to_lists(average(self.structure)), "rise": [to_finite(value) for value in self.mean_rise().tolist()],
        }  # fmt: skip


def _describe(end: float, signed: float) -> str:
    """The sentence on a method's maps by both correlations at the last stage; empty where they change, or were not measured."""
    if not end >= UNCHANGED:
        return ""
    if signed >= UNCHANGED:
        return f"keep a rank correlation of {end:.2f} when all weights are random, so they show the image and not this network."
    return (
        f"keep a rank correlation of {end:.2f} in magnitude when all weights are random ({signed:.2f} with signs), "
        "so where they are large shows the image and not this network."
    )


def average(values: Numbers) -> Numbers:
    """Return the mean over the last axis of the numbers that are finite, NaN where none is."""
    there = np.isfinite(values)
    total, count = np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1)
    found: Numbers = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return found


def to_finite(value: float) -> float | None:
    """A number as JSON can hold it."""
    return value if math.isfinite(value) else None


def to_lists(values: Numbers) -> list[list[float | None]]:
    """Rows of numbers as JSON can hold them."""
    return [[to_finite(value) for value in row] for row in values.tolist()]
