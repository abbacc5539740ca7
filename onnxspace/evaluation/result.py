"""The result of an evaluation: measures of each ranking, with intervals over targets, and bounds, priorities and trees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation import bootstrap
from onnxspace.evaluation.display import describe_evaluation, render_evaluation
from onnxspace.evaluation.precision import precision, recall
from onnxspace.evaluation.priority import Priorities
from onnxspace.evaluation.static_baseline import NAME
from onnxspace.storage.csv_text import format_csv
from onnxspace.storage.data_frames import NUMBER, TEXT, WHOLE, make_frame

Numbers = NDArray[np.float64]
_COLUMNS = {"ranking": TEXT, "measure": TEXT, "k": WHOLE, "mean": NUMBER, "low": NUMBER, "high": NUMBER}
SCHEMA = "onnxspace/evaluate/1"
#: Measures with one number per target, and measures with one for each K.
CORRELATIONS = ("weighted_tau", "kendall_tau", "spearman")
CURVES = ("precision", "recall", "rel", "regret")


@dataclass(frozen=True, eq=False)
class Measure:
    """`values` per target, float64 [targets, columns] with one column per K or a single one, their `mean`, and its interval.

    `mean`, `low` and `high` are float64 [columns].
    """

    values: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers


def summarise(values: Numbers, draws: int, seed: int) -> Measure:
    """Compute the mean and interval over targets of `values`, float64 [targets, columns]; `draws`, `seed` as in `intervals`."""
    low, high = bootstrap.intervals(values, draws, seed)
    return Measure(values, bootstrap.mean(values), low, high)


@dataclass(frozen=True, eq=False)
class Scored:
    """One ranking: its `name`, the file it is from (`origin`), `hits`, float64 [targets, K], and `measures` by name.

    The names are those of CORRELATIONS and CURVES.
    """

    name: str
    origin: str
    hits: Numbers
    measures: Mapping[str, Measure]


@dataclass(frozen=True, eq=False)
class Bound:
    """What a random order or the oracle itself reaches: hits, float64 [targets, K], P@K and R@K, float64 [K] each."""

    hits: Numbers
    precision: Numbers
    recall: Numbers


def bound_from_hits(hits: Numbers, relevant: Numbers) -> Bound:
    """Compute a bound from `hits`, float64 [targets, K], and the targets' numbers of `relevant` candidates, [targets]."""
    return Bound(hits, precision(hits).mean(0), (recall(hits.T, 1.0) / relevant).mean(1))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The evaluation of rankings (`scored`) against an oracle.

    `candidates` are the sources of each target, without the target itself; the best `relevant` count as relevant. `random`
    and `best` are the bounds of a random order and of the oracle. `priorities` are by ranking, with the oracle's under
    `oracle`; `trees` by ranking, for square tables: names, and a SciPy linkage matrix [names − 1, 4]. `draws`, `seed` and
    `level` describe the bootstrap.
    """

    oracle: str
    targets: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]
    relevant: int
    scored: tuple[Scored, ...]
    random: Bound
    best: Bound
    priorities: Mapping[str, Priorities]
    trees: Mapping[str, tuple[tuple[str, ...], Numbers]]
    linkage: str
    draws: int
    seed: int
    level: float
    warnings: tuple[str, ...] = field(default=())

    def margins(self) -> dict[str, Measure]:
        """Compute each ranking's lead over the static baseline in weighted tau, per target; empty without a baseline.

        >>> found.margins()["affinity"].low  # doctest: +SKIP
        """
        taus = {one.name: one.measures["weighted_tau"].values for one in self.scored}
        base = taus.pop(NAME, None)
        return {} if base is None else {name: summarise(values - base, self.draws, self.seed) for name, values in taus.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/evaluate/1`, ready for `json.dumps`; undefined values are null.

        >>> found.to_dict()["rankings"][0]["weighted_tau"]  # doctest: +SKIP
        {'mean': 0.71, 'low': 0.55, 'high': 0.84}
        """
        return {
            "schema": SCHEMA,
            "oracle": self.oracle,
            "relevant": self.relevant,
            "targets": {t: list(sources) for t, sources in zip(self.targets, self.candidates, strict=True)},
            "bootstrap": {"draws": self.draws, "seed": self.seed, "level": self.level},
            "rankings": [self._ranking(one) for one in self.scored],
            "random": {"precision": nan_to_null(self.random.precision), "recall": nan_to_null(self.random.recall)},
            "best": {"precision": nan_to_null(self.best.precision), "recall": nan_to_null(self.best.recall)},
            "ahead_of_static": {name: _single_to_dict(margin) for name, margin in self.margins().items()},
            "priorities": {name: _priorities_to_list(found) for name, found in self.priorities.items()},
            "trees": {
                name: {"models": list(names), "linkage": self.linkage, "tree": joined.tolist()}
                for name, (names, joined) in self.trees.items()
            },
            "warnings": list(self.warnings),
        }  # fmt: skip

    def to_csv(self) -> str:
        """Format as CSV with the columns ranking, measure, k, mean, low, high; k is empty for correlations.

        Numbers round-trip exactly.

        >>> Path("measures.csv").write_text(found.to_csv())  # doctest: +SKIP
        """
        rows = [(*names, "" if k is None else str(k), *map(_format_cell, values)) for *names, k, values in self._rows()]
        return format_csv([tuple(_COLUMNS), *rows])

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with the columns of `to_csv`: `ranking`, `measure`, `k`, `mean`, `low`, `high`.

        `k` is missing for correlations; `random` and `oracle` are the bounds, without an interval. Values that are not defined are NaN.
        Raises MissingLibraryError where pandas is not installed.

        >>> frame = evaluate(oracle, [ranking]).to_dataframe()  # doctest: +SKIP
        >>> frame[frame.measure == "weighted_tau"]  # doctest: +SKIP
        """
        return make_frame(_COLUMNS, [(*names, k, *nan_to_null(values)) for *names, k, values in self._rows()])

    def __repr__(self) -> str:
        return describe_evaluation(self.to_dict())

    def _repr_html_(self) -> str:
        """Correlations and precision of each ranking as a table, for notebooks."""
        return render_evaluation(self.to_dict())

    def _rows(self) -> Iterator[tuple[str, str, int | None, tuple[float, float, float]]]:
        """Ranking, measure, K (None for correlations), and the mean with its interval, NaN where there is none."""
        for one in self.scored:
            for name, measure in one.measures.items():
                for k, triple in enumerate(zip(measure.mean, measure.low, measure.high, strict=True), 1):
                    yield one.name, name, k if name in CURVES else None, triple
        for name, found in (("random", self.random), ("oracle", self.best)):
            for measure_name, values in (("precision", found.precision), ("recall", found.recall)):
                for k, value in enumerate(values, 1):
                    yield name, measure_name, k, (value, math.nan, math.nan)

    def _ranking(self, one: Scored) -> dict[str, Any]:
        singles = {name: _single_to_dict(one.measures[name]) for name in CORRELATIONS}
        curves = {name: _curve_to_dict(one.measures[name]) for name in CURVES}
        per_target = {
            target: {"hits": nan_to_null(one.hits[i])}
            | {name: nan_to_null(one.measures[name].values[i])[0] for name in CORRELATIONS}
            for i, target in enumerate(self.targets)
        }
        return {
            "name": one.name,
            "path": one.origin,
            "hits": nan_to_null(one.hits.sum(0)),
            **singles,
            **curves,
            "targets": per_target,
        }


def _single_to_dict(measure: Measure) -> dict[str, Any]:
    return {name: nan_to_null(values)[0] for name, values in _summary_items(measure)}


def _curve_to_dict(measure: Measure) -> dict[str, Any]:
    return {name: nan_to_null(values) for name, values in _summary_items(measure)}


def _summary_items(measure: Measure) -> tuple[tuple[str, Numbers], ...]:
    return ("mean", measure.mean), ("low", measure.low), ("high", measure.high)


def _priorities_to_list(found: Priorities) -> list[dict[str, Any]]:
    rows = zip(found.sources, found.priorities, nan_to_null(found.correlations), strict=True)
    return [{"source": source, "priority": priority, "correlation": value} for source, priority, value in rows]


def nan_to_null(values: Any) -> list[float | None]:
    """Convert float64 [any number] to a list for JSON, with None for numbers that are not finite."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _format_cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""
