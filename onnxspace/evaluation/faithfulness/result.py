"""The faithfulness of the maps of one model: means over images with their intervals, beside maps of chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation.bootstrap import intervals
from onnxspace.evaluation.faithfulness.formulas import Numbers
from onnxspace.inputs.faithfulness import LARGER_IS_BETTER, MEASURES, Measure
from onnxspace.similarity.records import ModelRecord

#: Rows after those of the methods: a map of random numbers, and one that falls from the centre to the corners.
CHANCE = ("random map", "centre map")
#: Rank correlation with a map of the network whose weights are all random, from which on a map has not changed.
UNCHANGED = 0.7
#: Images below which percentile intervals of means are too narrow.
FEW_IMAGES = 10


@dataclass(frozen=True)
class Figure:
    """The mean of a measure over `images`; `low` and `high` are its 95 % interval, None for a single image.

    `beats_random` says whether the mean difference from the random map is on the better side with its whole interval; None where
    there is nothing to compare, or too few images to tell.
    """

    mean: float
    low: float | None
    high: float | None
    images: int
    beats_random: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as an object for `json.dumps`, numbers that are not finite as None."""
        return {key: _finite(value) if isinstance(value, float) else value for key, value in asdict(self).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class ModelFaithfulness:
    """What was measured of one model's maps.

    `methods` are the rows, followed by the maps of chance. `values` has float64 [rows, images] per measure, NaN where an image has no
    value, `curves` float64 [rows, images, steps + 1] of deletion and insertion, `cascade` float64 [methods, stages, images] the rank
    correlations after the last `layers` layers were randomised. `explained` and `followed` say what maps attribute and what curves
    follow; `warnings` are sentences.
    """

    model: ModelRecord
    methods: tuple[str, ...]
    explained: str
    followed: str
    values: Mapping[Measure, Numbers]
    curves: Mapping[str, Numbers]
    layers: tuple[int, ...] = ()
    cascade: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The methods, and the maps of chance."""
        return (*self.methods, *CHANCE)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What was measured, in the order of `MEASURES`."""
        return tuple(name for name in MEASURES if name in self.values)

    def figures(self, measure: Measure) -> tuple[Figure | None, ...]:
        """Return the figure of each of `rows`; None where there is no value.

        >>> found.figures("deletion")[0].mean  # doctest: +SKIP
        0.41
        """
        values = self.values[measure]
        random = values[self.rows.index(CHANCE[0])]
        return tuple(
            _summarise(row, random, measure, name in self.methods) for name, row in zip(self.rows, values, strict=True)
        )

    def mean_curves(self, measure: str) -> Numbers:
        """Return the mean curves over images, float64 [rows, steps + 1]."""
        found: Numbers = self.curves[measure].mean(axis=1)
        return found

    def mean_cascade(self) -> Numbers:
        """Return the mean rank correlations over images, float64 [methods, stages], NaN without an image that has one."""
        cascade = np.empty((len(self.methods), 0, 1)) if self.cascade is None else self.cascade
        there = np.isfinite(cascade)
        total, count = np.where(there, cascade, 0).sum(axis=2), there.sum(axis=2)
        found: Numbers = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return found

    def unchanged(self) -> tuple[str, ...]:
        """Return a sentence for each method whose maps stay the same when all weights are random."""
        ends = self.mean_cascade()[:, -1:] if self.layers else np.empty((len(self.methods), 0))
        return tuple(
            f"{self.model.name}: maps by {method} keep a rank correlation of {end[0]:.2f} when all weights are random, "
            "so they show the image and not this network."
            for method, end in zip(self.methods, ends, strict=True)
            if end.size and end[0] >= UNCHANGED
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result of this model as an object for `json.dumps`."""
        measures = {name: self.figures(name) for name in self.measures}
        rows = [
            {
                "name": name, "chance": name not in self.methods,
                **{key: None if figures[place] is None else _to_dict(figures[place]) for key, figures in measures.items()},
            }
            for place, name in enumerate(self.rows)
        ]  # fmt: skip
        return {
            "model": asdict(self.model), "explained": self.explained, "followed": self.followed, "rows": rows,
            "curves": {name: _to_lists(self.mean_curves(name)) for name in self.curves},
            "cascade": {"layers": list(self.layers), "correlations": _to_lists(self.mean_cascade())},
            "unchanged": list(self.unchanged()), "warnings": list(self.warnings),
        }  # fmt: skip


def _to_dict(figure: Figure | None) -> dict[str, Any] | None:
    return None if figure is None else figure.to_dict()


def _to_lists(values: Numbers) -> list[list[float | None]]:
    return [[_finite(value) for value in row] for row in values.tolist()]


def _summarise(values: Numbers, random: Numbers, measure: Measure, method: bool) -> Figure | None:
    there = np.isfinite(values)
    images = int(there.sum())
    if images == 0:
        return None
    mean = float(values[there].mean())
    if images == 1:
        return Figure(mean, None, None, 1)
    both = there & np.isfinite(random)
    low, high = intervals(values[there][:, None])[:, 0].tolist()
    enough = method and int(both.sum()) >= FEW_IMAGES
    return Figure(mean, low, high, images, _beats(values[both] - random[both], measure) if enough else None)


def _beats(lead: Numbers, measure: Measure) -> bool:
    low, high = intervals(lead[:, None])[:, 0].tolist()
    return bool(low > 0 if measure in LARGER_IS_BETTER else high < 0)


def score_peaks(peaks: NDArray[np.int64], inside: Sequence[NDArray[np.bool_] | None]) -> Numbers:
    """Return the pointing game: float64 [methods + 2, images], 1 for a hit, 0 for a miss, NaN for an image without a box.

    `peaks` are row and column of the largest value of each map, int64 [methods, images, 2], `inside` says of each pixel of an image
    whether it is inside of a box. The random map's value is the share of pixels that are, which is what it hits on average. It is the
    accuracy of J. Zhang, S. A. Bargal, Z. Lin, J. Brandt, X. Shen, S. Sclaroff, "Top-down neural attention by excitation backprop",
    IJCV 2018, averaged over images instead of categories.

    >>> score_peaks(np.array([[[0, 1]]]), [np.array([[False, True], [False, False]])]).ravel().tolist()
    [1.0, 0.25, 0.0]
    """
    found = np.full((len(peaks) + len(CHANCE), len(inside)), np.nan)
    for image, mask in enumerate(inside):
        if mask is not None:
            found[: len(peaks), image] = [mask[row, column] for row, column in peaks[:, image].tolist()]
            found[len(peaks) :, image] = mask.mean(), mask[mask.shape[0] // 2, mask.shape[1] // 2]
    return found


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The faithfulness of the maps of some models, with the images and settings with which it was measured, ready for JSON."""

    models: tuple[ModelFaithfulness, ...]
    probe: Mapping[str, Any]
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as an object for `json.dumps`, with the schema `onnxspace/faithfulness/1`."""
        return {
            "schema": "onnxspace/faithfulness/1", "probe": dict(self.probe), "settings": dict(self.settings),
            "options": dict(self.options), "models": [model.to_dict() for model in self.models], "warnings": list(self.warnings),
        }  # fmt: skip

    def remarks(self) -> Iterator[str]:
        """Yield caveats, a sentence each, without those on maps that random weights do not change."""
        yield from self.warnings
        for model in self.models:
            yield from model.warnings
