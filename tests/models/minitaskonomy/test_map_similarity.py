"""Cosines of maps against slow twins."""

from __future__ import annotations

import numpy as np
import pytest

from models.minitaskonomy.study import (
    map_similarity,
)


def test_cosines_are_those_of_a_slow_twin(rng: np.random.Generator) -> None:
    made = rng.standard_normal((3, 4, 64)).astype(np.float32)
    made[1, 2] = 0
    found = map_similarity.unpack_pairs(map_similarity.compute_cosines(made), 4)
    for image, row in enumerate(made.astype(np.float64)):
        for i, a in enumerate(row):
            for j, b in enumerate(row):
                length = np.linalg.norm(a) * np.linalg.norm(b)
                assert found[image, i, j] == pytest.approx(a @ b / length if length else 0, abs=1e-6)


def test_maps_less_what_they_have_in_common_are_those_of_a_slow_twin(rng: np.random.Generator) -> None:
    made = rng.standard_normal((3, 5, 64)) + 2 * rng.standard_normal((3, 1, 64))
    of = np.array([True, True, True, False, True])
    found = map_similarity.subtract_common(
        map_similarity.unpack_pairs(map_similarity.compute_cosines(made.astype(np.float32)), 5), of
    )
    for image, row in enumerate(made):
        unit = row / np.linalg.norm(row, axis=1, keepdims=True)
        unit = unit - unit[of].mean(axis=0)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        np.testing.assert_allclose(found[image], unit @ unit.T, atol=1e-5)


def test_equal_models_have_nothing_apart() -> None:
    assert not map_similarity.subtract_common(np.ones((2, 4, 4)), np.ones(4, bool)).any()


def test_means_over_squares_are_those_of_a_loop(rng: np.random.Generator) -> None:
    made = rng.standard_normal((2, 3, 256)).astype(np.float32)
    found = map_similarity.pool(made, 4).reshape(2, 3, 4, 4)
    squares = made.astype(np.float64).reshape(2, 3, 16, 16)
    for i in range(4):
        for j in range(4):
            np.testing.assert_allclose(
                found[..., i, j], squares[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((-2, -1)), atol=1e-6
            )


def test_changes_do_what_they_say(rng: np.random.Generator) -> None:
    made = rng.standard_normal((6, 3, 256)).astype(np.float32)
    changed = {name: change(made) for name, change in map_similarity.CHANGES.items()}
    np.testing.assert_allclose(np.sign(changed["root"]) * changed["root"] ** 2, made, atol=1e-6)
    for name in ("less its mean", "absolute, less its mean", "absolute, 8 x 8, less its mean"):
        np.testing.assert_allclose(changed[name].mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(changed["less the model's mean map"].mean(axis=0), 0, atol=1e-6)
    pearson = map_similarity.unpack_pairs(map_similarity.compute_cosines(changed["less its mean"]), 3)
    np.testing.assert_allclose(pearson[0], np.corrcoef(made[0].astype(np.float64)), atol=1e-5)
