"""Rankings held against what is known: names matched, targets left out of their own candidates, every measure in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, TableError
from onnxspace.evaluation import bootstrap
from onnxspace.evaluation.correlation import kendall_tau, ordered, regret, relative, spearman, weighted_tau
from onnxspace.evaluation.precision import RELEVANT, best_hits, extended, hits, precision, random_hits, recall, relevance
from onnxspace.evaluation.priority import Priorities, mean_correlations, priorities
from onnxspace.evaluation.result import CORRELATIONS, Evaluation, Scored, bound, measured
from onnxspace.evaluation.static_baseline import NAME, static_baseline
from onnxspace.evaluation.table import Table, in_words
from onnxspace.similarity.ranking import Linkage, tree

Numbers = NDArray[np.float64]
_MEASURES = dict(zip(CORRELATIONS, (weighted_tau, kendall_tau, spearman), strict=True))


@dataclass(frozen=True, eq=False)
class _Case:
    """One target: its candidates, what is known of them, float64 [candidates], and what was predicted, [rankings, candidates]."""

    target: str
    sources: tuple[str, ...]
    truth: Numbers
    predicted: Numbers
    relevance: Numbers
    ordinal: bool

    def costs(self, index: int) -> tuple[Numbers, Numbers]:
        """Rel@K and regret@K of a ranking, float64 [candidates] each; NaN where the truth is a mere order."""
        if self.ordinal:
            return np.full(len(self.sources), np.nan), np.full(len(self.sources), np.nan)
        return relative(self.truth, self.predicted[index]), regret(self.truth, self.predicted[index])


def evaluate(
    oracle: Table, predicted: Sequence[Table], known: Table | None = None, *, correlations: Table | None = None,
    relevant: int = RELEVANT, linkage: Linkage = "average", draws: int = bootstrap.DRAWS, seed: int = 0,
) -> Evaluation:  # fmt: skip
    """How good each of `predicted` ranks the sources of each target of `oracle`; all tables larger-is-better.

    The candidates of a target are the sources with a value in the oracle and in every ranking, the target itself left out by
    its name; so all rankings are asked the same. `known` adds the static baseline, `correlations` (SVCCA between models, say)
    the correlation–priority curves. `draws` resamples of the targets give the intervals. What had to be left out is said in
    `warnings`. Raises TableError where nothing is left, ConfigError for numbers that make no sense.
    """
    if relevant < 1 or not 1 <= draws <= bootstrap.MOST_DRAWS:
        raise ConfigError(
            f"relevant is at least 1, and draws are 1 to {bootstrap.MOST_DRAWS}; {relevant} and {draws} were given."
        )
    rankings = [*_unique(predicted), *([] if known is None else [static_baseline(known, oracle.targets)])]
    if not rankings:
        raise ConfigError("There is no ranking to evaluate. Name a --predicted table, a --known one, or both.")
    cases, warnings = _cases(oracle, rankings, relevant)
    rows = np.array([case.relevance.sum() for case in cases])
    longest = max(len(case.sources) for case in cases)
    return Evaluation(
        oracle.origin, tuple(case.target for case in cases), tuple(case.sources for case in cases), relevant,
        tuple(_scored(one, i, cases, draws, seed) for i, one in enumerate(rankings)),
        bound(np.array([extended(random_hits(case.relevance), longest) for case in cases]), rows),
        bound(np.array([extended(best_hits(case.relevance), longest) for case in cases]), rows),
        _all_priorities(cases, rankings, correlations),
        {one.name: found for one in rankings if (found := tree_of(one, linkage)) is not None},
        linkage, draws, seed, bootstrap.LEVEL, tuple(warnings),
    )  # fmt: skip


def _unique(tables: Sequence[Table]) -> Iterator[Table]:
    """Tables under names of their own: with the folder where two files are called alike, then numbered."""
    names = [table.name for table in tables]
    seen = {"oracle", "random", NAME}
    for table in tables:
        folder = Path(table.origin).parent.name
        name = first = f"{folder}/{table.name}" if names.count(table.name) > 1 and folder else table.name
        number = 1
        while name in seen:
            number += 1
            name = f"{first}#{number}"
        seen.add(name)
        yield replace(table, name=name)


def _cases(oracle: Table, rankings: Sequence[Table], relevant: int) -> tuple[list[_Case], list[str]]:
    """The targets that can be judged, and what is to be said of the others."""
    grids = np.array([one.grid(oracle.targets, oracle.sources) for one in rankings])
    itself = np.array([[target == source for source in oracle.sources] for target in oracle.targets])
    there = np.isfinite(oracle.values) & ~itself
    both = there & np.isfinite(grids).all(0)
    warnings = [said for one in rankings for said in _missing(oracle, one)]
    if not both.any():
        raise TableError(_nothing(oracle, rankings))
    lost, kept = _lost(oracle, rankings, there, grids), []
    flat = []
    for row, target in enumerate(oracle.targets):
        columns = np.flatnonzero(both[row])
        truth = oracle.values[row, columns]
        if ordered(truth):
            sources = tuple(oracle.sources[j] for j in columns)
            kept.append(_Case(target, sources, truth, grids[:, row, columns], relevance(truth, relevant), oracle.ordinal))
        elif both[row].any():
            flat.append(target)
    if flat:
        warnings.append(f"{oracle.origin} gives no order of the candidates of {in_words(flat)}; left out.")
    if not kept or all(len(case.sources) <= relevant for case in kept):
        most = max((len(case.sources) for case in kept), default=0)
        raise TableError(
            f"{oracle.origin} and the rankings share at most {most} sources of a target, so that the best {relevant} are no "
            "choice. Give a smaller --relevant, or --alias where names differ."
        )
    return kept, [*warnings, *lost, *_few(kept, relevant), *_undecided(kept, rankings)]


def _missing(oracle: Table, one: Table) -> Iterator[str]:
    """Names that only one of the two has; self and the like included, since a misspelt name is found by this only."""
    parts = []
    for table, other in ((one, oracle), (oracle, one)):
        absent = [
            f"{side} {in_words(names)}"
            for side, mine, theirs in (("target", table.targets, other.targets), ("source", table.sources, other.sources))
            if (names := [name for name in theirs if name not in set(mine)])
        ]
        if absent:
            parts.append(f"{table.origin} has no {' and no '.join(absent)}")
    if parts:
        yield f"{'; '.join(parts)}; left out."


def _nothing(oracle: Table, rankings: Sequence[Table]) -> str:
    for one in rankings:
        if not set(one.targets) & set(oracle.targets) or not set(one.sources) & set(oracle.sources):
            return (
                f"{one.origin} (such as {one.targets[0]} from {one.sources[0]}) and {oracle.origin} (such as "
                f"{oracle.targets[0]} from {oracle.sources[0]}) have no target and source in common. Give --alias."
            )
    return f"{oracle.origin} and the rankings have no pair of a target and another source in common. Give --alias."


def _lost(oracle: Table, rankings: Sequence[Table], there: NDArray[np.bool_], grids: Numbers) -> list[str]:
    """Pairs that are known but not predicted, names apart."""
    said = []
    for one, grid in zip(rankings, grids, strict=True):
        named = np.array([t in set(one.targets) for t in oracle.targets])[:, None] & [
            s in set(one.sources) for s in oracle.sources
        ]
        count = int((there & named & ~np.isfinite(grid)).sum())
        if count:
            pairs = f"{count} known pair{'' if count == 1 else 's'}"
            said.append(f"{one.origin} has no value for {pairs} of a target and a source; left out.")
    return said


def _few(cases: Sequence[_Case], relevant: int) -> Iterator[str]:
    few = [case.target for case in cases if len(case.sources) <= relevant]
    if few:
        yield f"All candidates of {in_words(few)} are relevant, as there are no more than {relevant}: any order is right there."


def _undecided(cases: Sequence[_Case], rankings: Sequence[Table]) -> Iterator[str]:
    for i, one in enumerate(rankings):
        count = sum(not ordered(case.predicted[i]) for case in cases)
        if count:
            yield f"{one.name} says the same of all candidates of {count} target{'' if count == 1 else 's'}; its correlations are 0 there."


def _scored(one: Table, index: int, cases: Sequence[_Case], draws: int, seed: int) -> Scored:
    longest = max(len(case.sources) for case in cases)
    found = np.array([extended(hits(case.relevance, case.predicted[index]), longest) for case in cases])
    values = {
        name: np.array([[measure(case.predicted[index], case.truth)] for case in cases]) for name, measure in _MEASURES.items()
    }
    values["precision"] = precision(found)
    values["recall"] = np.array([recall(row, case.relevance.sum()) for row, case in zip(found, cases, strict=True)])
    costs = np.array([[extended(cost, longest) for cost in case.costs(index)] for case in cases])
    values["rel"], values["regret"] = costs[:, 0], costs[:, 1]
    return Scored(one.name, one.origin, found, {name: measured(v, draws, seed) for name, v in values.items()})


def _all_priorities(cases: Sequence[_Case], rankings: Sequence[Table], correlations: Table | None) -> dict[str, Priorities]:
    alike = mean_correlations(correlations, [case.target for case in cases])
    found = {one.name: priorities([(c.sources, c.predicted[i]) for c in cases], alike) for i, one in enumerate(rankings)}
    return {"oracle": priorities([(case.sources, case.truth) for case in cases], alike), **found}


def tree_of(table: Table, linkage: Linkage = "average") -> tuple[tuple[str, ...], Numbers] | None:
    """The similarity tree of a table with the same names on both sides and values in [−1, 1]: names, and a linkage matrix.

    Two directions of a pair are averaged; a model is as like itself as can be. None for other tables.
    """
    if set(table.targets) != set(table.sources) or len(table.targets) < 2:
        return None
    values = table.grid(table.targets, table.targets)
    np.fill_diagonal(values, 1.0)
    if not (np.abs(values) <= 1.0 + 1e-6).all():
        return None
    return table.targets, tree((values + values.T) / 2, linkage)
