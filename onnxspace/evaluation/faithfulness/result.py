"""The faithfulness of the maps of one model: means over images with their intervals, beside maps of chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from onnxspace.evaluation.bootstrap import intervals
from onnxspace.evaluation.faithfulness.chance import CHANCE
from onnxspace.evaluation.faithfulness.formulas import Numbers
from onnxspace.evaluation.faithfulness.randomisation import Randomisation, to_finite, to_lists
from onnxspace.inputs.faithfulness import LARGER_IS_BETTER, MEASURES, Measure
from onnxspace.similarity.records import ModelRecord

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
        return {key: to_finite(value) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class ModelFaithfulness:
    """What was measured of one model's maps of one number.

    `methods` are the rows, followed by the maps of chance. `values` has float64 [rows, images] per measure, NaN where an image has no
    value, `curves` float64 [rows, images, steps + 1] of deletion and insertion, `randomisation` what is left of maps when weights are
    random (None: not measured). `explained` and `followed` say what maps attribute and what curves follow, `target` what is explained
    instead of the encoder, in words; `warnings` are sentences, `notes` where in the network what is explained was found.
    """

    model: ModelRecord
    methods: tuple[str, ...]
    explained: str
    followed: str
    values: Mapping[Measure, Numbers]
    curves: Mapping[str, Numbers]
    randomisation: Randomisation | None = None
    warnings: tuple[str, ...] = ()
    target: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The model's name, and what is explained."""
        return f"{self.model.name}: {self.target}" if self.target else self.model.name

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

    def unchanged(self) -> tuple[str, ...]:
        """Return a sentence for each method whose maps stay the same when all weights are random."""
        if self.randomisation is None:
            return ()
        sentences = zip(self.methods, self.randomisation.describe_unchanged(), strict=True)
        return tuple(f"{self.title}: maps by {method} {words}" for method, words in sentences if words)

    def tabulate(self) -> list[dict[str, Any]]:
        """Return a row per method and map of chance, ready for JSON and pages.

        A row has its `name`, whether it is of `chance`, and by measure its mean, interval and number of images, or None.

        >>> found.tabulate()[0]["deletion"]["mean"]  # doctest: +SKIP
        0.41
        """
        measures = {name: self.figures(name) for name in self.measures}
        return [
            {"name": name, "chance": name not in self.methods, **{key: _to_dict(column[place]) for key, column in measures.items()}}
            for place, name in enumerate(self.rows)
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the result of this model as an object for `json.dumps`."""
        return {
            "model": asdict(self.model), "target": self.target or None, "explained": self.explained, "followed": self.followed,
            "rows": self.tabulate(), "curves": {name: to_lists(self.mean_curves(name)) for name in self.curves},
            "cascade": (self.randomisation or Randomisation.without(len(self.methods))).to_dict(),
            "unchanged": list(self.unchanged()), "warnings": list(self.warnings), "notes": list(self.notes),
        }  # fmt: skip


def _to_dict(figure: Figure | None) -> dict[str, Any] | None:
    return None if figure is None else figure.to_dict()


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
