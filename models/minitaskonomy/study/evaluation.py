"""Scores held against the oracle: measures per target, their means and intervals, and what the oracle itself can reach."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.study.score_matrix import Score, Values
from models.minitaskonomy.zoo import Zoo
from onnxspace.evaluation import Table, bootstrap
from onnxspace.evaluation.correlation import weighted_tau
from onnxspace.evaluation.precision import hits, precision, recall, relevance
from onnxspace.evaluation.static_baseline import NAME, static_baseline

MEASURES = ("P@1", "P@3", "P@5", "R@10", "tau", "regret@1")
GROUPS = ("tasks", "architectures")


@dataclass(frozen=True, eq=False)
class Oracle:
    """What transfer reaches, 1 − loss: float64 [seeds, targets, sources], NaN for a target's own model and what is not known."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    values: Values

    @classmethod
    def read(cls, path: Path, targets: Sequence[str], sources: Sequence[str]) -> Oracle:
        """From `oracle.csv`: target, source, seed, loss."""
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        seeds = sorted({int(row["seed"]) for row in rows})
        places = ({name: i for i, name in enumerate(names)} for names in (targets, sources))
        (down, across), found = places, np.full((len(seeds), len(targets), len(sources)), np.nan)
        for row in rows:
            if row["target"] in down and row["source"] in across and row["target"] != row["source"]:
                found[seeds.index(int(row["seed"])), down[row["target"]], across[row["source"]]] = 1 - float(row["loss"])
        return cls(tuple(targets), tuple(sources), found)

    @property
    def mean(self) -> Values:
        """Over the seeds: float64 [targets, sources]."""
        found: Values = self.values.mean(axis=0)
        return found

    def half(self, odd: bool) -> Values:
        """The mean over every second seed."""
        found: Values = self.values[int(odd) :: 2].mean(axis=0)
        return found


def measure_targets(values: Values, truth: Values, columns: NDArray[np.bool_]) -> Values:
    """Every measure of every target, float64 [targets, measures], among the sources of `columns`.

    A target's candidates are the sources that the oracle knows; NaN where the score lacks one of them.
    """
    found = np.full((len(values), len(MEASURES)), np.nan)
    for row, (mine, known) in enumerate(zip(values, truth, strict=True)):
        there = np.isfinite(known) & columns
        if there.sum() > 1 and np.isfinite(mine[there]).all():
            found[row] = _measure(mine[there], known[there])
    return found


def _measure(predicted: Values, truth: Values) -> list[float]:
    relevant = relevance(truth)
    hit = hits(relevant, predicted)
    shares = precision(hit)
    first = [float(shares[min(k, len(shares)) - 1]) for k in (1, 3, 5)]
    tenth = float(recall(hit, float(relevant.sum()))[min(10, len(hit)) - 1])
    lost = float(truth.max() - truth[predicted == predicted.max()].mean())
    return [*first, tenth, weighted_tau(predicted, truth), lost]


@dataclass(frozen=True, eq=False)
class Judgement:
    """A score with its measures in one group: `each` float64 [targets, measures], means and interval float64 [measures]."""

    score: Score
    group: str
    each: Values
    mean: Values
    low: Values
    high: Values


def judge(score: Score, truth: Values, zoo: Zoo, group: str) -> Judgement | None:
    """None where the score has no target all of whose candidates it ranks."""
    columns = zoo.main if group == "tasks" else np.ones(len(zoo.entries), bool)
    each = measure_targets(score.values, truth, columns)
    return _summarise(score, group, each) if np.isfinite(each[:, 4]).any() else None


def _summarise(score: Score, group: str, each: Values) -> Judgement:
    low, high = bootstrap.intervals(each)
    return Judgement(score, group, each, bootstrap.mean(each), low, high)


def make_baselines(oracle: Oracle, zoo: Zoo) -> list[Score]:
    """What takes no look at images: sources of one architecture first, and the static baseline."""
    same = np.array([one.architecture == zoo.entries[0].architecture for one in zoo.entries], float)
    table = Table("oracle", "oracle.csv", oracle.targets, oracle.sources, oracle.mean)
    static = static_baseline(table, oracle.targets).values
    found = [
        Score("beside", "random", "", "", 0, np.zeros_like(static)),
        Score("beside", "same architecture first", "", "", 0, np.broadcast_to(same, static.shape).copy()),
        Score("beside", NAME, "", "", 0, static),
    ]
    return [mask_own(one, zoo) for one in found]


def mask_own(score: Score, zoo: Zoo) -> Score:
    """The same with NaN for a target's own model."""
    rows = np.arange(len(zoo.targets))
    score.values[rows, np.flatnonzero(zoo.main)] = np.nan
    return score


def judge_ceiling(oracle: Oracle, zoo: Zoo, group: str) -> Judgement | None:
    """One seed's oracle as a prediction of the other seeds' mean, a mean over seeds: what is noise in the oracle itself."""
    seeds = len(oracle.values)
    if seeds < 2:
        return None
    columns = zoo.main if group == "tasks" else np.ones(len(zoo.entries), bool)
    parts = [measure_targets(oracle.values[s], np.delete(oracle.values, s, axis=0).mean(axis=0), columns) for s in range(seeds)]
    return _summarise(Score("beside", "oracle of one seed", "", "", 0, oracle.values[0]), group, np.mean(parts, axis=0))


def judge_best(oracle: Oracle, zoo: Zoo, group: str) -> Judgement | None:
    """The oracle's own order."""
    return judge(Score("beside", "oracle", "", "", 0, oracle.mean), oracle.mean, zoo, group)


HEAD = (
    "kind",
    "score",
    "options",
    "probe",
    "images",
    "group",
    "targets",
    *(f"{m}{end}" for m in MEASURES for end in ("", " low", " high")),
)


def format_rows(judged: Sequence[Judgement]) -> list[dict[str, str]]:
    """Lines of measures.csv."""
    found = []
    for one in judged:
        s = one.score
        said = (s.kind, s.name, s.options, s.probe, str(s.images), one.group, str(int(np.isfinite(one.each[:, 4]).sum())))
        triples = zip(one.mean, one.low, one.high, strict=True)
        found.append(
            dict(
                zip(
                    HEAD,
                    (*said, *(f"{v:.{4 if i == 0 else 3}f}" for triple in triples for i, v in enumerate(triple))),
                    strict=True,
                )
            )
        )
    return found
