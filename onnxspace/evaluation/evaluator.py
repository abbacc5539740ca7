"""Evaluation of rankings against an oracle: matches names, excludes each target from its candidates, computes every measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, TableError
from onnxspace.evaluation import bootstrap
from onnxspace.evaluation.correlation import has_order, kendall_tau, regret, relative_truth, spearman, weighted_tau
from onnxspace.evaluation.precision import RELEVANT, best_hits, extend_hits, hits, precision, random_hits, recall, relevance
from onnxspace.evaluation.priority import Priorities, mean_correlations, priorities
from onnxspace.evaluation.result import CORRELATIONS, Evaluation, Scored, bound_from_hits, summarise
from onnxspace.evaluation.static_baseline import NAME, static_baseline
from onnxspace.evaluation.table import Table, join_names
from onnxspace.similarity.ranking import Linkage, tree
from onnxspace.storage.short_text import count as number

Numbers = NDArray[np.float64]
_MEASURES = dict(zip(CORRELATIONS, (weighted_tau, kendall_tau, spearman), strict=True))


@dataclass(frozen=True, eq=False)
class _Case:
    """One target: its candidates `sources`, their ground truth and relevance, float64 [candidates] each, and the predictions.

    `predicted` is float64 [rankings, candidates].
    """

    target: str
    sources: tuple[str, ...]
    truth: Numbers
    predicted: Numbers
    relevance: Numbers
    ordinal: bool

    def costs(self, index: int) -> tuple[Numbers, Numbers]:
        """Rel@K and regret@K of a ranking, float64 [candidates] each; NaN where the ground truth is only ordinal."""
        if self.ordinal:
            return np.full(len(self.sources), np.nan), np.full(len(self.sources), np.nan)
        return relative_truth(self.truth, self.predicted[index]), regret(self.truth, self.predicted[index])


def evaluate(
    oracle: Table, predicted: Sequence[Table], known: Table | None = None, *, correlations: Table | None = None,
    relevant: int = RELEVANT, linkage: Linkage = "average", draws: int = bootstrap.DRAWS, seed: int = 0,
) -> Evaluation:  # fmt: skip
    """Evaluate how well each table of `predicted` ranks the sources of each target of `oracle`; in all tables larger is better.

    The candidates of a target are the sources with a value in the oracle and in every ranking, excluding the target itself by
    name, so all rankings are evaluated on the same candidates. `known`, a table of known results, adds the static baseline;
    `correlations`, a table of representation correlations such as SVCCA, adds the correlation–priority curves. `relevant` is
    the number of best sources that count as relevant (at least 1), `linkage` that of the similarity trees. `draws` (1 to
    10,000) resamples of the targets, drawn from `seed`, give the intervals. The `warnings` of the result name what was left
    out. Raises TableError where the tables share no usable target and sources, and ConfigError for `relevant` or `draws` out
    of range, or without any ranking.

    >>> truth = Table("truth", "truth.csv", ("x",), ("a", "b", "c"), np.array([[0.9, 0.5, 0.1]]))
    >>> guess = Table("guess", "guess.csv", ("x",), ("a", "b", "c"), np.array([[3.0, 2.0, 1.0]]))
    >>> evaluate(truth, [guess], relevant=1).scored[0].measures["weighted_tau"].mean.tolist()
    [1.0]
    """
    if relevant < 1 or not 1 <= draws <= bootstrap.MOST_DRAWS:
        raise ConfigError(
            f"relevant must be at least 1, and draws from 1 to {bootstrap.MOST_DRAWS}, not {relevant} and {draws}."
        )
    rankings = [*_name_uniquely(predicted), *([] if known is None else [static_baseline(known, oracle.targets)])]
    if not rankings:
        raise ConfigError("There is no ranking to evaluate. Give a --predicted table, a --known table, or both.")
    cases, warnings = _build_cases(oracle, rankings, relevant)
    rows = np.array([case.relevance.sum() for case in cases])
    longest = max(len(case.sources) for case in cases)
    return Evaluation(
        oracle.origin, tuple(case.target for case in cases), tuple(case.sources for case in cases), relevant,
        tuple(_score_ranking(one, i, cases, draws, seed) for i, one in enumerate(rankings)),
        bound_from_hits(np.array([extend_hits(random_hits(case.relevance), longest) for case in cases]), rows),
        bound_from_hits(np.array([extend_hits(best_hits(case.relevance), longest) for case in cases]), rows),
        _compute_priorities(cases, rankings, correlations),
        {one.name: found for one in rankings if (found := tree_of(one, linkage)) is not None},
        linkage, draws, seed, bootstrap.LEVEL, tuple(warnings),
    )  # fmt: skip


def _name_uniquely(tables: Sequence[Table]) -> Iterator[Table]:
    """Tables with unique names: with their folder where two files have the same name, then numbered."""
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


def _build_cases(oracle: Table, rankings: Sequence[Table], relevant: int) -> tuple[list[_Case], list[str]]:
    """The targets that can be evaluated, and warnings about what was left out."""
    grids = np.array([one.grid(oracle.targets, oracle.sources) for one in rankings])
    itself = np.array([[target == source for source in oracle.sources] for target in oracle.targets])
    there = np.isfinite(oracle.values) & ~itself
    both = there & np.isfinite(grids).all(0)
    warnings = [warning for one in rankings for warning in _report_missing_names(oracle, one)]
    if not both.any():
        raise TableError(_explain_no_overlap(oracle, rankings))
    lost, kept = _report_missing_pairs(oracle, rankings, there, grids), []
    flat = []
    for row, target in enumerate(oracle.targets):
        columns = np.flatnonzero(both[row])
        truth = oracle.values[row, columns]
        if has_order(truth):
            sources = tuple(oracle.sources[j] for j in columns)
            kept.append(_Case(target, sources, truth, grids[:, row, columns], relevance(truth, relevant), oracle.ordinal))
        elif both[row].any():
            flat.append(target)
    if flat:
        warnings.append(f"{oracle.origin} gives no order of the candidates of {join_names(flat)}; left out.")
    if not kept or all(len(case.sources) <= relevant for case in kept):
        most = max((len(case.sources) for case in kept), default=0)
        raise TableError(
            f"{oracle.origin} and the rankings share at most {number(most, 'source')} of a target, so all of them are among the best "
            f"{relevant}. Give a smaller --relevant, or --alias where names differ."
        )
    return kept, [*warnings, *lost, *_report_all_relevant(kept, relevant), *_report_constant_rankings(kept, rankings)]


def _report_missing_names(oracle: Table, one: Table) -> Iterator[str]:
    """Warn of names that only one of the two tables has, which is the only way to find misspelt names."""
    parts = []
    for table, other in ((one, oracle), (oracle, one)):
        absent = [
            f"{side} {join_names(names)}"
            for side, mine, theirs in (("target", table.targets, other.targets), ("source", table.sources, other.sources))
            if (names := [name for name in theirs if name not in set(mine)])
        ]
        if absent:
            parts.append(f"{table.origin} has no {' and no '.join(absent)}")
    if parts:
        yield f"{'; '.join(parts)}; left out."


def _explain_no_overlap(oracle: Table, rankings: Sequence[Table]) -> str:
    for one in rankings:
        if not set(one.targets) & set(oracle.targets) or not set(one.sources) & set(oracle.sources):
            return (
                f"{one.origin} (such as {one.targets[0]} from {one.sources[0]}) and {oracle.origin} (such as "
                f"{oracle.targets[0]} from {oracle.sources[0]}) have no target and source in common. Map names with --alias."
            )
    return f"{oracle.origin} and the rankings have no pair of a target and another source in common. Map names with --alias."


def _report_missing_pairs(oracle: Table, rankings: Sequence[Table], there: NDArray[np.bool_], grids: Numbers) -> list[str]:
    """Warn of pairs with ground truth but without a prediction, apart from missing names."""
    warnings = []
    for one, grid in zip(rankings, grids, strict=True):
        named = np.array([t in set(one.targets) for t in oracle.targets])[:, None] & [
            s in set(one.sources) for s in oracle.sources
        ]
        count = int((there & named & ~np.isfinite(grid)).sum())
        if count:
            pairs = number(count, "known pair")
            warnings.append(f"{one.origin} has no value for {pairs} of a target and a source; left out.")
    return warnings


def _report_all_relevant(cases: Sequence[_Case], relevant: int) -> Iterator[str]:
    few = [case.target for case in cases if len(case.sources) <= relevant]
    if few:
        yield f"All candidates of {join_names(few)} are relevant, as there are no more than {relevant}, so any order is right."


def _report_constant_rankings(cases: Sequence[_Case], rankings: Sequence[Table]) -> Iterator[str]:
    for i, one in enumerate(rankings):
        count = sum(not has_order(case.predicted[i]) for case in cases)
        if count:
            yield (
                f"{one.name} predicts the same value for all candidates of {number(count, 'target')}, where "
                "its correlations count as 0."
            )


def _score_ranking(one: Table, index: int, cases: Sequence[_Case], draws: int, seed: int) -> Scored:
    longest = max(len(case.sources) for case in cases)
    found = np.array([extend_hits(hits(case.relevance, case.predicted[index]), longest) for case in cases])
    values = {
        name: np.array([[measure(case.predicted[index], case.truth)] for case in cases]) for name, measure in _MEASURES.items()
    }
    values["precision"] = precision(found)
    values["recall"] = np.array([recall(row, case.relevance.sum()) for row, case in zip(found, cases, strict=True)])
    costs = np.array([[extend_hits(cost, longest) for cost in case.costs(index)] for case in cases])
    values["rel"], values["regret"] = costs[:, 0], costs[:, 1]
    return Scored(one.name, one.origin, found, {name: summarise(v, draws, seed) for name, v in values.items()})


def _compute_priorities(cases: Sequence[_Case], rankings: Sequence[Table], correlations: Table | None) -> dict[str, Priorities]:
    means = mean_correlations(correlations, [case.target for case in cases])
    found = {one.name: priorities([(c.sources, c.predicted[i]) for c in cases], means) for i, one in enumerate(rankings)}
    return {"oracle": priorities([(case.sources, case.truth) for case in cases], means), **found}


def tree_of(table: Table, linkage: Linkage = "average") -> tuple[tuple[str, ...], Numbers] | None:
    """Compute the similarity tree of a table: names, and a SciPy linkage matrix [names − 1, 4] by `linkage`.

    Both directions of a pair are averaged, and the diagonal is set to 1. Returns None for a table whose names differ between
    the sides, with fewer than two names, or with values outside [−1, 1].
    """
    if set(table.targets) != set(table.sources) or len(table.targets) < 2:
        return None
    values = table.grid(table.targets, table.targets)
    np.fill_diagonal(values, 1.0)
    if not (np.abs(values) <= 1.0 + 1e-6).all():
        return None
    return table.targets, tree((values + values.T) / 2, linkage)
