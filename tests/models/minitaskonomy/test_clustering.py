"""Similarity trees: separation of groups, and the places of similar tasks."""

from __future__ import annotations

import numpy as np
import pytest

from models.minitaskonomy.page import clustering
from models.minitaskonomy.tasks import TASKS


def test_a_matrix_of_groups_is_told_apart_and_chance_is_not(rng: np.random.Generator) -> None:
    groups = [task.group for task in TASKS.values()]
    block = np.array([[0.9 if a == b else 0.1 for b in groups] for a in groups]) + 0.01 * rng.random((20, 20))
    found = clustering.measure_separation((block + block.T) / 2, groups)
    assert (found.rand, found.purity) == (1.0, 1.0)
    assert found.chance <= 0.01
    noise = rng.random((20, 20))
    assert clustering.measure_separation((noise + noise.T) / 2, groups).chance > 0.01


def test_the_rand_index_is_scikit_learns(rng: np.random.Generator) -> None:
    from sklearn.metrics import adjusted_rand_score

    for _ in range(20):
        first, second = rng.integers(0, 3, 12), rng.integers(0, 4, 12)
        assert clustering.compute_adjusted_rand(first, second) == pytest.approx(adjusted_rand_score(first, second))


def test_kin_have_their_places() -> None:
    names = ["depth", "distance", "normals", "curvature"]
    values = np.array([[9, 3, 2, 1], [1, 9, 3, 2], [1, 2, 9, 3], [3, 2, 1, 9.0]])
    assert clustering.list_places(values, names) == {("depth", "distance"): (1, 3), ("normals", "curvature"): (1, 3)}


def test_what_is_no_likeness_becomes_one() -> None:
    values = np.array([[np.nan, 30.0, 20, 10], [5, np.nan, 4, 3], [1, 2, np.nan, 3], [3, 2, 1, np.nan]])
    found = clustering.symmetrise(values)
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] == 1.0  # each is the other's best
    assert found.min() >= 0
