"""Scores of all pairs, from arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.scores import registry
from onnxspace.scores.all_pairs import Arrays, sample_images, score_pairs
from onnxspace.scores.matrices import Compared, compute_score_matrix


def test_positions_are_samples_where_all_have_one_grid(tmp_path: Path) -> None:
    """Else the means over them are."""
    from onnxspace.scores import svcca

    rng = np.random.default_rng(0)
    values = [rng.standard_normal((30, 4, 3, 3)).astype(np.float32) for _ in range(2)] + [
        rng.standard_normal((30, 5)).astype(np.float32)
    ]
    for index, one in enumerate(values):
        np.save(tmp_path / f"{index}.npy", one)
    models = [Arrays(features=tmp_path / f"{index}.npy") for index in range(3)]
    same = compute_score_matrix(registry.find_spec("svcca"), Compared("ab", models[:2])).matrix
    assert same[0, 1] == pytest.approx(svcca(values[0], values[1]), abs=1e-9)
    other = compute_score_matrix(registry.find_spec("svcca"), Compared("abc", models)).matrix
    assert other[0, 2] == pytest.approx(svcca(values[0].mean(axis=(2, 3)), values[2]))


@pytest.mark.parametrize("shape", [(40, 6), (40, 200), (9, 30), (20, 5, 4, 4)])
def test_singular_vectors_that_are_computed_once_give_the_same(tmp_path: Path, shape: tuple[int, ...]) -> None:
    from onnxspace.scores import svcca

    rng = np.random.default_rng(1)
    values = [
        rng.standard_normal(shape) * np.geomspace(1, 1e-3, shape[1]).reshape(1, -1, *[1] * (len(shape) - 2)) for _ in "ab"
    ]
    values.append(np.ones(shape))
    for index, one in enumerate(values):
        np.save(tmp_path / f"{index}.npy", one)
    models = [Arrays(features=tmp_path / f"{index}.npy") for index in range(3)]
    found = compute_score_matrix(registry.find_spec("svcca"), Compared("abc", models))
    assert found.matrix[0, 1] == pytest.approx(svcca(values[0], values[1]), abs=1e-9)
    assert np.isnan(found.matrix[:, 2]).all()
    assert any("same for every image" in sentence for sentence in found.why)


def test_of_too_many_images_evenly_spaced_ones_are_paired() -> None:
    values = np.arange(10)[:, None]
    assert sample_images(values, 4).ravel().tolist() == [0, 3, 6, 9]
    assert sample_images(values, 10) is values


def test_a_pair_that_fails_is_said_once() -> None:
    def score(a: NDArray[Any], b: NDArray[Any]) -> float:
        if a is not b:
            raise ValueError("no")
        return 1.0

    found = score_pairs(score, [[np.ones(1)], [np.ones(1)], [np.ones(1)]], "abc")
    assert found.why == ("a and b: ValueError: no",)
    np.testing.assert_array_equal(np.isnan(found.matrix), ~np.eye(3, dtype=bool))
