"""Choosing a default honestly: what was chosen is judged on targets, or on seeds of the oracle, that had no say in the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation import bootstrap

Values = NDArray[np.float64]


def select_elsewhere(values: Values, groups: Sequence[str]) -> NDArray[np.intp]:
    """For each target the variant of the largest mean on targets of other groups: intp [targets].

    `values` float64 [variants, targets]; a group of its own for each target leaves out that target alone. The first of equals.
    """
    found = np.empty(values.shape[1], np.intp)
    for target, group in enumerate(groups):
        others = np.array([other != group for other in groups])
        found[target] = int(np.argmax(values[:, others].mean(axis=1)))
    return found


@dataclass(frozen=True)
class Difference:
    """Means over targets, and of the difference with its 95 % interval; `chosen` counts how often each variant was."""

    default: float
    chosen_mean: float
    difference: float
    low: float
    high: float
    chosen: tuple[tuple[int, int], ...]

    @property
    def wins(self) -> bool:
        """Whether the interval leaves 0 out, above it."""
        return self.low > 0


def compare(default: Values, chosen: Values, which: Sequence[int] = ()) -> Difference:
    """Paired by target: both float64 [targets]."""
    both = np.isfinite(default) & np.isfinite(chosen)
    low, high = bootstrap.intervals((chosen - default)[both, None])[:, 0]
    counts = tuple(Counter(int(one) for one in which).most_common())
    means = float(default[both].mean()), float(chosen[both].mean())
    return Difference(*means, means[1] - means[0], float(low), float(high), counts)


def select_nested(selector: Values, measure: Values, default: Values, groups: Sequence[str]) -> Difference:
    """Chosen by `selector` on the other groups' targets, judged by `measure` on the target; both float64 [variants, targets]."""
    chosen = select_elsewhere(selector, groups)
    return compare(default, measure[chosen, np.arange(measure.shape[1])], chosen.tolist())


def select_across_seeds(selectors: Sequence[Values], measures: Sequence[Values], defaults: Sequence[Values]) -> Difference:
    """Chosen on one half of the seeds over all targets, judged on the other, both ways: two arrays of each kind.

    `selectors` and `measures` float64 [variants, targets], `defaults` float64 [targets], by the half that they are held against.
    """
    picks = [int(np.argmax(selector.mean(axis=1))) for selector in selectors]
    chosen = (measures[1][picks[0]] + measures[0][picks[1]]) / 2
    return compare((defaults[0] + defaults[1]) / 2, chosen, picks)
