"""What an evaluation found: per ranking its measures, each a mean over targets with an interval, and the curves beside them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation import bootstrap
from onnxspace.evaluation.precision import precision, recall
from onnxspace.evaluation.priority import Priorities
from onnxspace.evaluation.static_baseline import NAME

Numbers = NDArray[np.float64]
SCHEMA = "onnxspace/evaluate/1"
#: One number per target; and one for each K.
CORRELATIONS = ("weighted_tau", "kendall_tau", "spearman")
CURVES = ("precision", "recall", "rel", "regret")


@dataclass(frozen=True, eq=False)
class Measure:
    """`values` float64 [targets, columns], columns being K or one; mean over targets and its interval, float64 [columns]."""

    values: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers


def measured(values: Numbers, draws: int, seed: int) -> Measure:
    """Mean and interval over targets of values [targets, columns]."""
    low, high = bootstrap.intervals(values, draws, seed)
    return Measure(values, bootstrap.mean(values), low, high)


@dataclass(frozen=True, eq=False)
class Scored:
    """One ranking: `hits` float64 [targets, K], and measures by name (those of CORRELATIONS and CURVES)."""

    name: str
    origin: str
    hits: Numbers
    measures: Mapping[str, Measure]


@dataclass(frozen=True, eq=False)
class Bound:
    """What no knowledge, or all of it, reaches: hits float64 [targets, K], P@K and R@K float64 [K]."""

    hits: Numbers
    precision: Numbers
    recall: Numbers


def bound(hits: Numbers, relevant: Numbers) -> Bound:
    """From hits [targets, K] and the number of relevant candidates of each target, float64 [targets]."""
    return Bound(hits, precision(hits).mean(0), (recall(hits.T, 1.0) / relevant).mean(1))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Rankings held against an oracle. `candidates` are the sources of each target, without the target itself.

    `priorities` are by ranking, the oracle's under `oracle`; `trees` by ranking, of those that are square: names, and a SciPy
    linkage matrix [names − 1, 4].
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
        """By how much each ranking is ahead of the static baseline in weighted tau, target by target; empty without one."""
        taus = {one.name: one.measures["weighted_tau"].values for one in self.scored}
        base = taus.pop(NAME, None)
        return {} if base is None else {name: measured(values - base, self.draws, self.seed) for name, values in taus.items()}

    def to_dict(self) -> dict[str, Any]:
        """The object of schema `onnxspace/evaluate/1`, ready for `json.dumps`; what is not defined is null."""
        return {
            "schema": SCHEMA,
            "oracle": self.oracle,
            "relevant": self.relevant,
            "targets": {t: list(sources) for t, sources in zip(self.targets, self.candidates, strict=True)},
            "bootstrap": {"draws": self.draws, "seed": self.seed, "level": self.level},
            "rankings": [self._ranking(one) for one in self.scored],
            "random": {"precision": plain(self.random.precision), "recall": plain(self.random.recall)},
            "best": {"precision": plain(self.best.precision), "recall": plain(self.best.recall)},
            "ahead_of_static": {name: _single(margin) for name, margin in self.margins().items()},
            "priorities": {name: _priorities(found) for name, found in self.priorities.items()},
            "trees": {
                name: {"models": list(names), "linkage": self.linkage, "tree": joined.tolist()}
                for name, (names, joined) in self.trees.items()
            },
            "warnings": list(self.warnings),
        }  # fmt: skip

    def to_csv(self) -> str:
        """Columns ranking, measure, k, mean, low, high; k is empty for correlations, and numbers round-trip exactly."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("ranking", "measure", "k", "mean", "low", "high"), *self._rows()])
        return text.getvalue()

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for one in self.scored:
            for name, measure in one.measures.items():
                for k, triple in enumerate(zip(measure.mean, measure.low, measure.high, strict=True), 1):
                    yield one.name, name, str(k) if name in CURVES else "", *(_cell(value) for value in triple)
        for name, found in (("random", self.random), ("oracle", self.best)):
            for measure_name, values in (("precision", found.precision), ("recall", found.recall)):
                for k, value in enumerate(values, 1):
                    yield name, measure_name, str(k), _cell(value), "", ""

    def _ranking(self, one: Scored) -> dict[str, Any]:
        singles = {name: _single(one.measures[name]) for name in CORRELATIONS}
        curves = {name: _curve(one.measures[name]) for name in CURVES}
        per_target = {
            target: {"hits": plain(one.hits[i])} | {name: plain(one.measures[name].values[i])[0] for name in CORRELATIONS}
            for i, target in enumerate(self.targets)
        }
        return {
            "name": one.name,
            "path": one.origin,
            "hits": plain(one.hits.sum(0)),
            **singles,
            **curves,
            "targets": per_target,
        }


def _single(measure: Measure) -> dict[str, Any]:
    return {name: plain(values)[0] for name, values in _triple(measure)}


def _curve(measure: Measure) -> dict[str, Any]:
    return {name: plain(values) for name, values in _triple(measure)}


def _triple(measure: Measure) -> tuple[tuple[str, Numbers], ...]:
    return ("mean", measure.mean), ("low", measure.low), ("high", measure.high)


def _priorities(found: Priorities) -> list[dict[str, Any]]:
    rows = zip(found.sources, found.priorities, plain(found.correlations), strict=True)
    return [{"source": source, "priority": priority, "correlation": value} for source, priority, value in rows]


def plain(values: Any) -> list[float | None]:
    """Numbers for JSON, which knows no NaN."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""
