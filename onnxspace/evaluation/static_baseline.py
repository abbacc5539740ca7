"""The static baseline: the model that did well elsewhere is taken, whatever the target is.

A source's prediction for a target is its mean rank on the other datasets of a table of known results. No data of the target
is used, and yet on the table of 11 models × 11 datasets that scores are commonly held against it reaches a mean weighted tau
of .837, above every published score there (docs/reproduction.md). A score that is not ahead of it adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import TableError
from onnxspace.evaluation.table import Table

Numbers = NDArray[np.float64]
NAME = "static baseline"


def mean_ranks(values: Numbers) -> Numbers:
    """The mean rank of each model over datasets, 1 the best: float64 [models] from results [datasets, models].

    Results are larger-is-better, ties at their mean rank, NaN where a model was not tried. Ranks of a dataset with fewer
    models are stretched to all of them. NaN for a model that was tried nowhere.
    """
    return _mean(_ranks(values))


def _ranks(values: Numbers) -> Numbers:
    """Ranks [datasets, models] on the scale 1 … models, NaN where a model was not tried."""
    from scipy.stats import rankdata

    tried = np.isfinite(values)
    ranks = rankdata(np.where(tried, -values, np.inf), axis=1)
    among = np.maximum(tried.sum(1, keepdims=True), 1)
    stretched: Numbers = np.where(tried, (ranks - 0.5) / among * values.shape[1] + 0.5, np.nan)
    return stretched


def _mean(ranks: Numbers) -> Numbers:
    number = np.isfinite(ranks).sum(0)
    means: Numbers = np.divide(np.nansum(ranks, 0), number, out=np.full(len(number), np.nan), where=number > 0)
    return means


def static_baseline(known: Table, targets: Sequence[str]) -> Table:
    """Predictions [targets, models of `known`]: the negated mean rank over its datasets, the target left out by its name.

    `known` holds results [datasets, models], larger is better. Raises TableError where it is of one target alone.
    """
    rows, ranks = [], _ranks(known.values)
    for target in targets:
        others = [i for i, dataset in enumerate(known.targets) if dataset != target]
        if not others:
            raise TableError(f"{known.origin} knows of no dataset but {target}. Give --known a table of others.")
        rows.append(-_mean(ranks[others]))
    return Table(NAME, known.origin, tuple(targets), known.sources, np.array(rows))


def elsewhere(known: Table, targets: Sequence[str], sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each target the mean rank of the sources on the table's other datasets, 1 the best; those that are not in it are left out.

    Raises TableError as `static_baseline`.
    """
    found = static_baseline(known, targets)
    places = {name: column for column, name in enumerate(found.sources)}
    return {
        target: {name: -float(row[places[name]]) for name in sources if name in places and np.isfinite(row[places[name]])}
        for target, row in zip(targets, found.values, strict=True)
    }
