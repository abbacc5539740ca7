"""Rankings held against the truth: Kendall's τ, P@3 and regret per target, their means, and intervals over targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.realzoo.truth import read
from models.realzoo.zoo import SOURCES
from onnxspace.evaluation import Table, bootstrap
from onnxspace.evaluation.correlation import kendall_tau
from onnxspace.evaluation.precision import hits, precision, relevance
from onnxspace.evaluation.static_baseline import static_baseline

Values = NDArray[np.float64]
Kind = Literal["finetuned", "frozen"]
KINDS: tuple[Kind, ...] = ("finetuned", "frozen")
MEASURES = ("τ", "P@3", "regret")


@dataclass(frozen=True, eq=False)
class Truth:
    """Accuracy of every transfer: `each[kind]` is float64 [seeds, targets, sources], NaN for sources of the target's own task."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    each: dict[Kind, Values]

    @classmethod
    def read(cls, file: Path) -> Truth:
        """From truth.csv."""
        rows = read(file)
        targets, sources, seeds = (list(dict.fromkeys(getattr(r, side) for r in rows)) for side in ("target", "source", "seed"))
        each = {kind: np.full((len(seeds), len(targets), len(sources)), np.nan) for kind in KINDS}
        for row in rows:
            for kind in KINDS:
                each[kind][seeds.index(row.seed), targets.index(row.target), sources.index(row.source)] = getattr(row, kind)
        return cls(tuple(targets), tuple(sources), each)

    def mean(self, kind: Kind) -> Values:
        """Over the seeds, float64 [targets, sources]."""
        found: Values = self.each[kind].mean(axis=0)
        return found

    def table(self, kind: Kind) -> Table:
        """The mean as a table of onnxspace.evaluation."""
        return Table(kind, "truth.csv", self.targets, self.sources, self.mean(kind))


@dataclass(frozen=True, eq=False)
class Judgement:
    """One ranking against one truth: `each` float64 [targets, measures], NaN for a target without a ranking; means and interval."""

    name: str
    kind: Kind
    each: Values

    @property
    def mean(self) -> Values:
        """Over targets, float64 [measures]."""
        return bootstrap.mean(self.each)

    @property
    def interval(self) -> Values:
        """95 % over targets, float64 [2, measures]."""
        return bootstrap.intervals(self.each)

    @property
    def count(self) -> int:
        """How many targets were ranked."""
        return int(np.isfinite(self.each[:, 0]).sum())


def measure(predicted: Values, truth: Values) -> tuple[float, float, float]:
    """Kendall's τ-b, the share of the first 3 that are among the 5 best, and the points that the first loses on the best.

    Both are float64 [candidates], larger is better; truth is accuracy in 0..1, regret in points of 0..100. Equal values are
    taken in all their orders: P@3 and regret are means over these.
    """
    shares = precision(hits(relevance(truth), predicted))
    lost = 100 * float(truth.max() - truth[predicted == predicted.max()].mean())
    return kendall_tau(predicted, truth), float(shares[min(3, len(shares)) - 1]), lost


def judge(name: str, predicted: Values, truth: Values, kind: Kind) -> Judgement:
    """Measure a ranking, float64 [targets, sources], against accuracies of the same shape.

    Candidates of a target are the sources with a truth. A target where one of them has no value isn't ranked.
    """
    each = np.full((len(truth), len(MEASURES)), np.nan)
    for row, (mine, known) in enumerate(zip(predicted, truth, strict=True)):
        there = np.isfinite(known)
        if np.isfinite(mine[there]).all():
            each[row] = measure(mine[there], known[there])
    return Judgement(name, kind, each)


def judge_file(file: Path, truth: Truth) -> list[Judgement]:
    """The ranking of a CSV file (target, source, value) against both truths."""
    values = Table.read(file).grid(truth.targets, truth.sources)
    return [judge(file.stem, values, truth.mean(kind), kind) for kind in KINDS]


def judge_ceiling(truth: Truth, kind: Kind) -> Judgement:
    """One seed's order against the mean of the other seeds, a mean over seeds: the noise of the truth."""
    seeds = truth.each[kind]
    parts = [judge("", seeds[n], np.delete(seeds, n, axis=0).mean(axis=0), kind).each for n in range(len(seeds))]
    return Judgement("ceiling (one seed for the others)", kind, np.mean(parts, axis=0))


def judge_baselines(truth: Truth, kind: Kind) -> list[Judgement]:
    """What takes no look at a target: chance, results on the other targets, and these averaged over each architecture."""
    known, static = truth.mean(kind), static_baseline(truth.table(kind), truth.targets).values
    families = np.array([SOURCES[name].family for name in truth.sources])
    pooled = np.stack([static[:, families == family].mean(axis=1) for family in families], axis=1)
    rankings = {"random": np.zeros_like(known), "static baseline": static, "architecture's mean": pooled}
    return [judge(name, values, known, kind) for name, values in rankings.items()]


def judge_references(truth: Truth) -> list[Judgement]:
    """Ceilings and baselines of both truths."""
    return [one for kind in KINDS for one in (judge_ceiling(truth, kind), *judge_baselines(truth, kind))]


def format_judgements(judged: Sequence[Judgement]) -> str:
    """A table in Markdown, a row for each name, both truths beside each other."""
    names = list(dict.fromkeys(one.name for one in judged))
    head = ["ranked by", *(f"{kind}: {measure}" for kind in KINDS for measure in MEASURES)]
    lines = [head, ["---"] * len(head)]
    for name in names:
        mine = {one.kind: one for one in judged if one.name == name}
        lines.append([name, *(cell for kind in KINDS for cell in _format_cells(mine.get(kind)))])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _format_cells(one: Judgement | None) -> list[str]:
    """Mean and interval of each measure, and of how many targets where some lack a ranking."""
    if one is None or not one.count:
        return ["n/a"] * len(MEASURES)
    few = f" ({one.count} targets)" if one.count < len(one.each) else ""
    low, high = one.interval
    cells = []
    for name, mean, *ends in zip(MEASURES, one.mean, low, high, strict=True):
        digits = 1 if name == "regret" else 2
        cells.append(f"{mean:.{digits}f} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]{few}")
    return cells
