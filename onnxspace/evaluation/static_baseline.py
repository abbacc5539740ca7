"""The static baseline: ranks models by their results on other datasets, whatever the target is.

The prediction for a source and a target is the source's mean rank on the other datasets of a table of known results. It uses
no data of the target, and yet on the table of 11 models × 11 datasets that is commonly used to evaluate scores it reaches a
mean weighted tau of .837, above every published score there (docs/reproduction.md). A score that does not beat it adds nothing.
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
    """Return the mean rank of each model over datasets, 1 is best: float64 [models] from results, float64 [datasets, models].

    Larger results are better, NaN where a model was not tried; ties have their mean rank. Ranks on a dataset with fewer models
    are scaled to the full number. The result is NaN for a model that was not tried on any dataset.

    >>> mean_ranks(np.array([[0.9, 0.5], [0.8, 0.8]])).tolist()
    [1.25, 1.75]
    """
    return _mean_over_datasets(_rank_models(values))


def _rank_models(values: Numbers) -> Numbers:
    """Ranks [datasets, models] on the scale 1 … models, NaN where a model was not tried."""
    from scipy.stats import rankdata

    tried = np.isfinite(values)
    ranks = rankdata(np.where(tried, -values, np.inf), axis=1)
    among = np.maximum(tried.sum(1, keepdims=True), 1)
    stretched: Numbers = np.where(tried, (ranks - 0.5) / among * values.shape[1] + 0.5, np.nan)
    return stretched


def _mean_over_datasets(ranks: Numbers) -> Numbers:
    number = np.isfinite(ranks).sum(0)
    means: Numbers = np.divide(np.nansum(ranks, 0), number, out=np.full(len(number), np.nan), where=number > 0)
    return means


def static_baseline(known: Table, targets: Sequence[str]) -> Table:
    """Predict values [targets, models of `known`]: negated mean ranks over its datasets, excluding the target by name.

    `known` holds results [datasets, models], larger is better. Raises TableError where it has no dataset other than a target.
    """
    rows, ranks = [], _rank_models(known.values)
    for target in targets:
        others = [i for i, dataset in enumerate(known.targets) if dataset != target]
        if not others:
            raise TableError(f"{known.origin} has no dataset other than {target}. Give --known a table with other datasets.")
        rows.append(-_mean_over_datasets(ranks[others]))
    return Table(NAME, known.origin, tuple(targets), known.sources, np.array(rows))


def mean_ranks_elsewhere(known: Table, targets: Sequence[str], sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return, for each target, the mean ranks of `sources` on the other datasets of `known`, 1 is best.

    Sources that the table lacks are left out. Raises TableError as `static_baseline`.
    """
    found = static_baseline(known, targets)
    places = {name: column for column, name in enumerate(found.sources)}
    return {
        target: {name: -float(row[places[name]]) for name in sources if name in places and np.isfinite(row[places[name]])}
        for target, row in zip(targets, found.values, strict=True)
    }
