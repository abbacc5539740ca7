"""Measures of rankings against slow twins, other libraries, and published numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from onnxspace.errors import ConfigError, TableError
from onnxspace.evaluation import Evaluation, Table, bootstrap, evaluate
from onnxspace.evaluation.correlation import kendall_tau, regret, relative_truth, spearman, weighted_tau
from onnxspace.evaluation.evaluator import tree_of
from onnxspace.evaluation.precision import best_hits, extend_hits, hits, precision, random_hits, recall, relevance
from onnxspace.evaluation.priority import mean_correlations, priorities
from onnxspace.evaluation.static_baseline import NAME, mean_ranks, static_baseline
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.records import ModelRecord

Numbers = NDArray[np.float64]
#: Few values, so that there are ties; whole, so that sums are exact.
tied = st.lists(st.integers(0, 3), min_size=2, max_size=6)


def two_sides(longest: int) -> st.SearchStrategy[tuple[list[int], list[int]]]:
    """Truth and prediction of as many candidates."""
    return st.integers(2, longest).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2))


def table(values: object, sources: str = "", targets: str = "", name: str = "t") -> Table:
    """Targets A, B, … and sources a, b, … unless named."""
    array = np.array(values, dtype=np.float64)
    return Table(
        name, f"{name}.csv", tuple(targets or "ABCDEFGH"[: len(array)]), tuple(sources or "abcdefgh"[: array.shape[1]]), array
    )


def orders(values: Sequence[float]) -> list[list[int]]:
    """Every order, best first, that breaks the ties of `values` in some way."""
    places = range(len(values))
    return [list(o) for o in itertools.permutations(places) if all(values[a] >= values[b] for a, b in itertools.pairwise(o))]


def slow_hits(truth: Sequence[float], predicted: Sequence[float], relevant: int) -> Numbers:
    """The mean over all ways to break ties of both."""
    found = [
        [len(set(mine[:k]) & set(best[:relevant])) for k in range(1, len(truth) + 1)]
        for mine in orders(predicted)
        for best in orders(truth)
    ]
    return np.mean(found, axis=0)


@settings(deadline=None)
@given(two_sides(4), st.integers(1, 4))
def test_hits_are_the_mean_over_all_ways_to_break_ties(both: tuple[list[int], list[int]], relevant: int) -> None:
    truth, predicted = (np.array(side, float) for side in both)
    found = hits(relevance(truth, relevant), predicted)
    np.testing.assert_allclose(found, slow_hits(both[0], both[1], relevant), atol=1e-12)


@given(tied, st.integers(1, 4))
def test_a_perfect_prediction_has_the_oracles_curve_and_a_constant_one_the_random_curve(
    truth: list[int], relevant: int
) -> None:
    shares = relevance(np.array(truth, float), relevant)
    assert shares.sum() == pytest.approx(min(relevant, len(truth)))
    np.testing.assert_allclose(hits(shares, np.exp(truth)), best_hits(shares))
    np.testing.assert_allclose(hits(shares, np.zeros(len(truth))), random_hits(shares))


def test_without_ties_the_bounds_are_those_of_the_paper() -> None:
    shares = relevance(np.arange(19.0))
    ks = np.arange(1, 20)
    np.testing.assert_array_equal(precision(best_hits(shares)), np.minimum(1, 5 / ks))
    np.testing.assert_allclose(precision(random_hits(shares)), 5 / 19)
    np.testing.assert_allclose(recall(random_hits(shares), 5), ks / 19)


def test_shuffled_predictions_hit_as_often_as_the_random_curve_says() -> None:
    random = np.random.default_rng(0)
    shares = relevance(random.random(12))
    found = np.mean([hits(shares, random.permutation(12).astype(float)) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(found, random_hits(shares), atol=0.08)  # four standard errors of at most .02


def test_precision_and_recall_agree_with_a_library() -> None:
    from sklearn.metrics import precision_score, recall_score

    random = np.random.default_rng(3)
    truth, predicted = random.random(15), random.random(15)
    right = relevance(truth)
    found = hits(right, predicted)
    for k in range(1, 16):
        taken = np.argsort(np.argsort(-predicted)) < k
        assert precision(found)[k - 1] == pytest.approx(precision_score(right > 0, taken))
        assert recall(found, 5)[k - 1] == pytest.approx(recall_score(right > 0, taken))


@settings(deadline=None)
@given(two_sides(5))
def test_order_is_all_that_counts_of_a_prediction(both: tuple[list[int], list[int]]) -> None:
    truth, predicted = (np.array(side, float) for side in both)
    stretched = np.exp(3 * predicted) - 7
    np.testing.assert_array_equal(hits(relevance(truth), predicted), hits(relevance(truth), stretched))
    for measure in (weighted_tau, kendall_tau, spearman):
        assert measure(predicted, truth) == pytest.approx(measure(stretched, truth), abs=1e-12)
    np.testing.assert_array_equal(regret(truth, predicted), regret(truth, stretched))


@settings(deadline=None)
@given(two_sides(5))
def test_candidates_may_stand_in_any_order(both: tuple[list[int], list[int]]) -> None:
    truth, predicted = (np.array(side, float) for side in both)
    backward = truth[::-1], predicted[::-1]
    np.testing.assert_allclose(hits(relevance(truth), predicted), hits(relevance(backward[0]), backward[1]))
    np.testing.assert_allclose(regret(truth, predicted), regret(*backward))


@settings(deadline=None)
@given(two_sides(5))
def test_cost_is_the_mean_over_all_ways_to_break_ties(both: tuple[list[int], list[int]]) -> None:
    truth, predicted = both
    for offset, values in ((1, [v + 1.0 for v in truth]), (-1, [v - 5.0 for v in truth])):
        best = max(values)
        shares = [v / best if offset > 0 else best / v for v in values]
        chosen = [[max(values[i] for i in o[:k]) for k in range(1, len(o) + 1)] for o in orders(predicted)]
        gained = [[max(shares[i] for i in o[:k]) for k in range(1, len(o) + 1)] for o in orders(predicted)]
        lost = best - np.mean(chosen, axis=0)
        np.testing.assert_allclose(regret(np.array(values), np.array(predicted, float)), lost, atol=1e-12)
        np.testing.assert_allclose(relative_truth(np.array(values), np.array(predicted, float)), np.mean(gained, axis=0))


def test_rel_of_a_small_case() -> None:
    truth, predicted = np.array([80.0, 90.0, 60.0]), np.array([2.0, 1.0, 3.0])
    np.testing.assert_allclose(relative_truth(truth, predicted), [60 / 90, 80 / 90, 1])
    np.testing.assert_allclose(regret(truth, predicted), [30, 10, 0])
    np.testing.assert_allclose(relative_truth(-truth, predicted), [1, 1, 1])  # the third has the lowest loss
    assert np.isnan(relative_truth(truth - 70, predicted)).all()
    assert np.isnan(relative_truth(np.zeros(3), predicted)).all()


def slow_weighted_tau(x: Sequence[float], y: Sequence[float]) -> float:
    """Vigna 2015 from the definition: ⟨x, y⟩ = Σ sgn · sgn · (1/(1+r_i) + 1/(1+r_j)), averaged over ranks by x and by y."""

    def one(first: Sequence[float], second: Sequence[float]) -> float:
        order = sorted(range(len(x)), key=lambda i: (first[i], second[i]), reverse=True)
        rank = {i: r for r, i in enumerate(order)}

        def product(a: Sequence[float], b: Sequence[float]) -> float:
            return sum(
                np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) * (1 / (1 + rank[i]) + 1 / (1 + rank[j]))
                for i, j in itertools.combinations(range(len(x)), 2)
            )

        return float(product(first, second) / np.sqrt(product(first, first) * product(second, second)))

    return (one(x, y) + one(y, x)) / 2


@pytest.mark.parametrize("seed", range(5))
def test_weighted_tau_is_the_papers(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.random(9), random.random(9)
    assert weighted_tau(x, y) == pytest.approx(slow_weighted_tau(x.tolist(), y.tolist()))


def test_no_order_is_no_correlation() -> None:
    for measure in (weighted_tau, kendall_tau, spearman):
        assert measure(np.ones(4), np.arange(4.0)) == 0.0
        assert measure(np.arange(4.0), np.ones(4)) == 0.0
        assert measure(np.arange(4.0), np.exp(np.arange(4.0))) == pytest.approx(1.0)


def test_bootstrap_covers_and_repeats() -> None:
    random = np.random.default_rng(1)
    inside = []
    for trial in range(200):
        low, high = bootstrap.intervals(random.normal(2.0, 1.0, (40, 1)), 300, seed=trial)
        inside.append(low[0] <= 2.0 <= high[0])
    assert 0.88 <= np.mean(inside) <= 0.99
    values = random.random((7, 2))
    np.testing.assert_array_equal(bootstrap.intervals(values, 50, 3), bootstrap.intervals(values, 50, 3))
    assert (bootstrap.intervals(values, 50, 3) != bootstrap.intervals(values, 50, 4)).any()


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(2).random(30)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    np.testing.assert_allclose(bootstrap.intervals(values[:, None], 10_000)[:, 0], theirs, atol=0.004)


def test_bootstrap_passes_over_what_is_not_defined() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(bootstrap.mean(values), [2.0, np.nan])
    low, high = bootstrap.intervals(values[:2], 200)
    assert (low[0], high[0]) == (1.0, 3.0)
    assert np.isnan([low[1], high[1]]).all()


def test_mean_ranks() -> None:
    np.testing.assert_allclose(mean_ranks(np.array([[9.0, 8.0, 7.0], [9.0, 9.0, 1.0]])), [1.25, 1.75, 3.0])
    ragged = np.array([[9.0, 8.0, np.nan, np.nan], [np.nan, np.nan, np.nan, 5.0]])
    np.testing.assert_allclose(mean_ranks(ragged), [1.5, 3.5, np.nan, 2.5])  # places 1 and 2 of 2 are 1.5 and 3.5 of 4


def test_the_static_baseline_never_looks_at_the_target() -> None:
    known = table([[1, 2, 3], [6, 4, 5], [9, 8, 7]])
    changed = replace(known, values=np.array([[3.0, 1, 2], [6, 4, 5], [9, 8, 7]]))
    np.testing.assert_array_equal(static_baseline(known, "A").values, static_baseline(changed, "A").values)
    np.testing.assert_array_equal(static_baseline(known, "A").values, [[-1.0, -2.5, -2.5]])
    np.testing.assert_array_equal(static_baseline(known, "Z").values, [-mean_ranks(known.values)])
    with pytest.raises(TableError, match="no dataset other than A"):
        static_baseline(table([[1, 2]]), "A")


def test_a_target_is_left_out_by_its_name_and_not_for_being_first() -> None:
    """The target scores worst with itself, and a twin of it under another name stays in."""
    oracle = table([[5, 4, 3, 2], [1, 9, 8, 2]], "AabB", "AB")
    predicted = table([[-1, 0.9, 1.0, 0.3], [0.2, 0.4, 0.5, 0.0]], "AabB", "AB")
    found = evaluate(oracle, [predicted], relevant=1)
    assert found.candidates == (("a", "b", "B"), ("A", "a", "b"))
    np.testing.assert_array_equal(found.scored[0].hits, [[0, 1, 1], [0, 1, 1]])


def test_a_whole_evaluation_by_hand() -> None:
    oracle = table([[4, 3, 2, 1], [1, 2, 3, 4]])
    right, half = oracle, table([[9, 8, 7, 6], [9, 8, 7, 6]], name="half")
    found = evaluate(oracle, [replace(right, name="right"), half], relevant=2)
    one, two = found.scored
    np.testing.assert_allclose(one.measures["precision"].mean, [1, 1, 2 / 3, 0.5])
    np.testing.assert_allclose(two.measures["precision"].mean, [0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(two.measures["recall"].mean, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.random.precision, 0.5)
    np.testing.assert_allclose(found.best.recall, [0.5, 1, 1, 1])
    assert one.measures["kendall_tau"].mean[0] == pytest.approx(1)
    assert two.measures["kendall_tau"].mean[0] == pytest.approx(0)
    assert (two.measures["kendall_tau"].low[0], two.measures["kendall_tau"].high[0]) == (-1, 1)
    assert two.measures["regret"].mean[0] == pytest.approx(1.5)
    assert found.margins() == {}


def test_what_is_unknown_is_no_candidate_of_any_ranking() -> None:
    oracle = table([[4, np.nan, 2, 1, 0], [1, 2, 3, 4, 5]])
    gap = table([[1, 1, 1, 1, 2], [1, 2, np.nan, 4, 5]], name="gap")
    found = evaluate(oracle, [replace(oracle, name="all"), gap], relevant=1)
    assert found.candidates == (tuple("acde"), tuple("abde"))
    assert found.warnings == ("gap.csv has no value for 1 known pair of a target and a source; left out.",)


def test_names_of_one_side_are_named() -> None:
    oracle = table([[4, 3, 2, 1], [1, 2, 3, 4]])
    other = table([[1, 2, 3, 4]], "abcz", "A", "other")
    found = evaluate(oracle, [other], relevant=1)
    assert found.warnings == ("other.csv has no target B and no source d; t.csv has no source z; left out.",)
    assert found.targets == ("A",)


def test_flat_targets_and_flat_rankings_are_said() -> None:
    oracle = table([[1, 1, 1], [1, 2, 3]])
    found = evaluate(oracle, [table([[1, 2, 3], [7, 7, 7]], name="flat")], relevant=1)
    assert found.targets == ("B",)
    assert [w.split(" ")[0] for w in found.warnings] == ["t.csv", "flat"]
    assert found.scored[0].measures["weighted_tau"].mean[0] == 0
    np.testing.assert_allclose(found.scored[0].measures["precision"].mean, found.random.precision)


def test_targets_may_have_unequal_numbers_of_candidates() -> None:
    oracle = table([[5, 4, 3, 2, 1], [3, 2, 1, np.nan, np.nan]])
    found = evaluate(oracle, [oracle], relevant=2)
    np.testing.assert_allclose(found.scored[0].hits, [[1, 2, 2, 2, 2], [1, 2, 2, 2, 2]])
    np.testing.assert_allclose(found.random.hits, [[0.4, 0.8, 1.2, 1.6, 2], [2 / 3, 4 / 3, 2, 2, 2]])
    np.testing.assert_allclose(found.best.recall, [0.5, 1, 1, 1, 1])
    assert evaluate(oracle, [oracle], relevant=3).warnings[0].startswith("All candidates of B are relevant")


@pytest.mark.parametrize(
    ("oracle", "predicted", "words"),
    [
        (table([[1, 2, 3]]), table([[1, 2, 3]], "xyz", "Q", "p"), "no target and source in common"),
        (table([[1, 2]], "Ab", "A"), table([[1, 2]], "Ac", "A", "p"), "no pair of a target and another source"),
        (table([[1, 2, 3]]), table([[1, 2, 3]]), "at most 3 sources"),
        (table([[2, 2, 2]]), table([[1, 2, 3]]), "at most 0 sources"),
    ],
)
def test_nothing_to_judge_is_refused(oracle: Table, predicted: Table, words: str) -> None:
    with pytest.raises(TableError, match=words):
        evaluate(oracle, [predicted])


def test_numbers_that_make_no_sense_are_refused() -> None:
    oracle = table([[1, 2, 3]])
    for options in ({"relevant": 0}, {"draws": 0}, {"draws": 10**6}):
        with pytest.raises(ConfigError):
            evaluate(oracle, [oracle], **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no ranking"):
        evaluate(oracle, [])


def test_rankings_that_are_called_alike_are_told_apart() -> None:
    oracle = table([[1, 2, 3], [3, 1, 2]])
    two = [replace(oracle, name="affinity", origin=f"{folder}/affinity.csv") for folder in "ab"]
    found = evaluate(oracle, [*two, two[1], replace(oracle, name="oracle"), replace(oracle, name=NAME)], oracle, relevant=1)
    names = [one.name for one in found.scored]
    assert names == ["a/affinity", "b/affinity", "b/affinity#2", "oracle#2", f"{NAME}#2", NAME]
    assert list(found.margins()) == names[:-1]


def test_the_margin_over_the_static_baseline_is_of_the_same_targets() -> None:
    random = np.random.default_rng(0)
    oracle = table(random.random((6, 8)))
    found = evaluate(oracle, [replace(oracle, name="right")], oracle)
    taus = [one.measures["weighted_tau"].values[:, 0] for one in found.scored]
    margin = found.margins()["right"]
    np.testing.assert_array_equal(margin.values[:, 0], taus[0] - taus[1])
    assert margin.low[0] <= margin.mean[0] <= margin.high[0]


def test_priorities_and_the_curve() -> None:
    ranked = [(("a", "b", "c"), np.array([3.0, 2.0, 1.0])), (("a", "b", "c"), np.array([3.0, 3.0, 1.0]))]
    alike = table([[0.9, 0.5, 0.1], [0.7, 0.3, np.nan]])
    found = priorities(ranked, mean_correlations(alike, "AB"))
    assert (found.sources, found.priorities) == (("a", "b", "c"), (1.25, 1.75, 3.0))
    np.testing.assert_allclose(found.correlations, [0.8, 0.4, 0.1])
    same = priorities([(("a", "b"), np.array([1.0, 1.0]))], {"a": 0.2, "b": 0.6}).curve()
    np.testing.assert_allclose(same, [[1.5], [0.4]])
    assert mean_correlations(table([[1, 0.2], [0.4, 1]], "ab", "ab"), "ab") == {"a": 0.4, "b": 0.2}


def test_the_tree_is_that_of_rank_and_needs_likenesses() -> None:
    from onnxspace.similarity.ranking import tree

    matrix = np.array([[1, 0.8, 0.1], [0.6, 1, 0.2], [0.1, 0.2, 1]])
    square = table(matrix, "abc", "abc")
    names, joined = tree_of(square) or ((), np.zeros(0))
    assert names == ("a", "b", "c")
    np.testing.assert_allclose(joined, tree((matrix + matrix.T) / 2))
    assert joined[0, 2] == pytest.approx(0.3)
    assert tree_of(table(matrix)) is None
    assert tree_of(table(matrix * 3, "abc", "abc")) is None
    single = tree_of(square, "single")
    assert single is not None
    assert single[1][0, 2] == pytest.approx(np.linalg.norm([0.3, -0.3, -0.1]))


def test_an_affinity_is_evaluated_from_what_it_writes(tmp_path: pytest.TempPathFactory) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    matrix = np.array([[1, 0.8, 0.1], [0.8, 1, 0.2], [0.1, 0.2, 1]])
    models = tuple(ModelRecord(n, f"{n}.onnx", "0", "e", "x", 17, "p") for n in "abc")
    made = Affinity(models, matrix, "elrp", {"name": "n", "images": 2, "size": 8, "sha256": "0"})
    (folder / "m.csv").write_text(made.to_csv())
    (folder / "r.csv").write_text(made.rankings_csv())
    (folder / "s.json").write_text(json.dumps(made.to_dict()))
    read = [Table.read(folder / name) for name in ("m.csv", "s.json", "r.csv")]
    for one in read[:2]:
        assert one.sources == one.targets == ("a", "b", "c")
        np.testing.assert_array_equal(one.values, matrix)
    np.testing.assert_array_equal(
        read[2].grid("abc", "abc"), np.where(np.eye(3, dtype=bool), np.nan, matrix)
    )  # rankings leave the target out


def judged(values: Numbers) -> Evaluation:
    return evaluate(table(values), [table(values, name="p")], relevant=1)


def test_the_object_is_json_and_repeats() -> None:
    values = np.random.default_rng(5).normal(size=(4, 6))
    first, second = (json.dumps(judged(values).to_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    found = json.loads(first)
    assert found["schema"] == "onnxspace/evaluate/1"
    assert found["rankings"][0]["rel"]["mean"] == [None] * 6  # both signs
    lines = judged(values).to_csv().splitlines()
    assert lines[0] == "ranking,measure,k,mean,low,high"
    assert len(lines) == 1 + 3 + 4 * 6 + 2 * 2 * 6


def test_extended_curves_stay_where_they_end() -> None:
    np.testing.assert_array_equal(extend_hits(np.array([1.0, 2.0]), 4), [1, 2, 2, 2])
