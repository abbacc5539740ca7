"""Formulas of faithfulness, against slow versions from the papers and what is true of all curves and maps."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxspace.evaluation.faithfulness.formulas import area_under, infidelity, rank_correlation, rank_pixels, relative_change
from onnxspace.evaluation.faithfulness.similarity import compare_maps
from tests.helpers.examples import examples
from tests.oracles import faithfulness as slow

PROBABILITIES = arrays(np.float64, st.integers(2, 30), elements=st.floats(0, 1))


@settings(max_examples=examples(200), deadline=None)
@given(PROBABILITIES)
def test_area_of_probabilities_is_in_the_unit_interval_and_by_the_trapezoidal_rule(curve: np.ndarray) -> None:
    area = float(area_under(curve))
    assert 0 <= area <= 1
    assert area == pytest.approx(slow.area(curve), abs=1e-12)
    assert float(area_under(np.full_like(curve, curve[0]))) == pytest.approx(curve[0])


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6), st.booleans())
def test_infidelity_is_that_of_least_squares_and_ignores_a_maps_scale(seed: int, scale: float, negative: bool) -> None:
    random = np.random.default_rng(seed)
    predicted, changes = random.standard_normal((3, 20)), random.standard_normal(20)
    got = infidelity(predicted, changes)
    assert got == pytest.approx([slow.infidelity(row, changes) for row in predicted], abs=1e-10)
    assert ((got >= 0) & (got <= 1)).all()
    assert infidelity((-scale if negative else scale) * predicted, changes) == pytest.approx(got, abs=1e-9)
    assert infidelity(predicted, 7 * changes) == pytest.approx(got, abs=1e-9)


def test_infidelity_of_what_predicts_all_of_nothing_and_where_nothing_changes() -> None:
    changes = np.array([1.0, -2.0, 3.0])
    assert infidelity(np.stack([changes, -changes, np.zeros(3)]), changes).tolist() == [0, 0, 1]
    assert np.isnan(infidelity(np.ones((2, 3)), np.zeros(3))).all()


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 10**6))
def test_rank_correlation_has_mean_ranks_for_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = (random.integers(-4, 5, (5, 6)).astype(np.float64) for _ in range(2))
    if np.ptp(np.abs(one)) and np.ptp(np.abs(other)):
        found = compare_maps(one, other)
        assert found["magnitude"] == pytest.approx(slow.spearman_of_magnitudes(one, other), abs=1e-12)
        assert found["signed"] == pytest.approx(scipy.stats.spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-12)
        assert rank_correlation(one, 3 * one) == pytest.approx(1.0)
        assert compare_maps(one, -3 * one)["signed"] == pytest.approx(-1.0)


def test_rank_correlation_of_constant_maps() -> None:
    map_, constant = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    assert np.isnan(rank_correlation(constant, map_))
    assert rank_correlation(map_, constant) == 0


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_ranks_fall_with_values_whatever_the_scale(seed: int, scale: float) -> None:
    values = np.random.default_rng(seed).standard_normal((4, 5))
    ranks = rank_pixels(values, np.random.default_rng(1))
    assert sorted(ranks.ravel()) == list(range(20))
    order = np.empty(20)
    order[ranks.ravel()] = values.ravel()
    assert (np.diff(order) <= 0).all()
    assert (rank_pixels(scale * values, np.random.default_rng(1)) == ranks).all()


def test_equal_values_are_in_random_order_which_the_generator_decides() -> None:
    ranks = [rank_pixels(np.zeros((8, 8)), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert (ranks[0] == ranks[1]).all()
    assert (ranks[0] != ranks[2]).any()
    assert abs(np.corrcoef(ranks[0].ravel(), np.arange(64))[0, 1]) < 0.5


def test_relative_change_is_a_ratio_of_norms() -> None:
    maps, others = np.array([[[3.0, 4.0]], [[0.0, 0.0]]]), np.array([[[3.0, 9.0]], [[1.0, 0.0]]])
    assert relative_change(maps, others)[0] == pytest.approx(1.0)
    assert np.isnan(relative_change(maps, others)[1])
