"""Results of all models for each held-out image: intervals, and whether features are better than chance or a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from onnxspace.scores.arrays import Array
from onnxspace.scores.brackets import exceeds, find_intervals, resample_means
from onnxspace.scores.held_out import HeldOut


@dataclass(frozen=True, eq=False)
class ImageResults:
    """`held_out[score]` has the results of each model, of the same images; None where a score could not be computed."""

    held_out: Mapping[str, tuple[HeldOut | None, ...]] = field(default_factory=dict)

    @property
    def _present(self) -> Mapping[str, tuple[HeldOut | None, ...]]:
        return {score: models for score, models in self.held_out.items() if any(models)}

    @cached_property
    def _draws(self) -> Mapping[str, Array]:
        """Means over the same resampled images: float64 [draws, models + 1], the last of the constant answer."""
        return {score: resample_means(_stack(models)) for score, models in self._present.items()}

    @cached_property
    def means(self) -> Mapping[str, Array]:
        """Means over resampled images by score: float64 [draws, models], NaN for a model without results."""
        return {score: draws[:, :-1] for score, draws in self._draws.items()}

    @cached_property
    def intervals(self) -> Mapping[str, tuple[tuple[float, float] | None, ...]]:
        """The 95 % interval of each model by score, None for a model without results."""
        return {
            score: tuple(None if np.isnan(low) else (float(low), float(high)) for low, high in find_intervals(means).T)
            for score, means in self.means.items()
        }

    @cached_property
    def chance(self) -> Mapping[str, float]:
        """What each score is expected to be for labels in random order, the mean over the models."""
        return {s: float(np.mean([one.chance for one in models if one])) for s, models in self._present.items()}

    @cached_property
    def constant(self) -> Mapping[str, float]:
        """Each score of a constant answer: the share of the most frequent class, or 0 for numbers."""
        means = {score: next(one for one in models if one).constant.mean() for score, models in self._present.items()}
        return {score: round(float(mean), 12) + 0.0 for score, mean in means.items()}

    def is_above_constant(self, model: int) -> bool | None:
        """Return whether a score of this model is above that of a constant answer by its 95 % interval; None without results."""
        gains = [draws[:, model] - draws[:, -1] for score, draws in self._draws.items() if self.held_out[score][model]]
        return any(exceeds(np.stack(gains, axis=1))) if gains else None

    @cached_property
    def is_above_chance(self) -> bool:
        """Whether a score of a model is above chance by an interval that holds for all scores and models together."""
        gains = [
            self.means[score][:, i] - one.chance
            for score, models in self._present.items()
            for i, one in enumerate(models)
            if one
        ]
        return bool(gains) and any(exceeds(np.stack(gains, axis=1), len(gains)))

    def average(self, scores: Sequence[str]) -> Array | None:
        """Return the mean over `scores` of `means`, float64 [draws, models]; None where none of them has results."""
        present = [self.means[score] for score in scores if score in self.means]
        return np.asarray(np.mean(present, axis=0)) if present else None


def _stack(models: Sequence[HeldOut | None]) -> Array:
    """Results of each model, and of the constant answer, which is the same for all: float64 [models + 1, images]."""
    first = next(one for one in models if one)
    missing = np.full(len(first.values), np.nan)
    return np.array([*(missing if one is None else one.values for one in models), first.constant])
