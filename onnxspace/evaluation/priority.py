"""The correlation–priority curve: whether the sources that a ranking puts first have representations similar to the targets'.

The priority of a source is its mean rank over targets. The curve shows the mean representation correlation (such as SVCCA) of
the models at each priority with the targets (Song et al., NeurIPS 2019): it falls where a ranking and the correlations agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation.table import Table

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Priorities:
    """Sources in ascending order of `priorities`, their mean ranks over targets (1 is first), and their `correlations`.

    `correlations` are mean correlations with the targets, NaN where unknown.
    """

    sources: tuple[str, ...]
    priorities: tuple[float, ...]
    correlations: tuple[float, ...]

    def curve(self) -> tuple[Numbers, Numbers]:
        """Return each distinct priority, ascending, and the mean correlation of its models: two float64 [points]."""
        priorities, correlations = np.array(self.priorities), np.array(self.correlations)
        there = np.isfinite(correlations)
        points, group = np.unique(priorities[there], return_inverse=True)
        return points, np.bincount(group, correlations[there], len(points)) / np.bincount(group, minlength=len(points))


def priorities(ranked: Sequence[tuple[Sequence[str], Numbers]], correlations: Mapping[str, float]) -> Priorities:
    """Compute the priorities of sources from each target's candidates and values, float64 [candidates], larger is better.

    Ties have their mean rank. `correlations` holds each source's mean correlation with the targets, where known.
    """
    from scipy.stats import rankdata

    ranks: dict[str, list[float]] = {}
    for sources, values in ranked:
        for source, rank in zip(sources, rankdata(-values), strict=True):
            ranks.setdefault(source, []).append(float(rank))
    means = {source: float(np.mean(found)) for source, found in ranks.items()}
    order = sorted(means, key=lambda source: (means[source], source))
    known = tuple(correlations.get(source, float("nan")) for source in order)
    return Priorities(tuple(order), tuple(means[source] for source in order), known)


def mean_correlations(table: Table | None, targets: Sequence[str]) -> dict[str, float]:
    """Compute the mean correlation of each source of `table` with `targets`, excluding itself by name.

    Sources without a known correlation are left out; the result is empty where `table` is None.
    """
    if table is None:
        return {}
    rows = [i for i, target in enumerate(table.targets) if target in set(targets)]
    found = {}
    for column, source in enumerate(table.sources):
        values = [table.values[i, column] for i in rows if table.targets[i] != source]
        finite = [float(value) for value in values if np.isfinite(value)]
        if finite:
            found[source] = float(np.mean(finite))
    return found
