"""Similarities of maps: SSIM and entropy against slow versions of their formulas; and what is concluded of random weights."""

from __future__ import annotations

import numpy as np
import pytest

from onnxspace.evaluation.faithfulness.randomisation import Randomisation
from onnxspace.evaluation.faithfulness.similarity import SIMILARITIES, compare_maps, measure_entropy, measure_structure
from tests.oracles import faithfulness as slow


@pytest.mark.parametrize("seed", range(4))
def test_structural_similarity_is_that_of_its_formula_window_by_window(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.random((14, 17)), random.random((14, 17))
    other = one + (seed % 2) * other
    assert measure_structure(one, other) == pytest.approx(slow.structure(one, other), abs=1e-10)
    assert measure_structure(one, 5 * one) == pytest.approx(1)
    assert compare_maps(one, -one)["structure"] == pytest.approx(1)


def test_structural_similarity_needs_a_map_as_large_as_its_window() -> None:
    assert np.isnan(measure_structure(np.eye(10), np.eye(10)))
    assert np.isnan(measure_structure(np.ones((16, 16)), np.random.default_rng(0).random((16, 16))))
    assert set(compare_maps(np.eye(16), np.eye(16))) == set(SIMILARITIES)


def test_entropy_is_that_of_a_histogram_whatever_the_scale() -> None:
    values = np.random.default_rng(0).standard_normal((20, 20))
    assert measure_entropy(values) == pytest.approx(slow.entropy(values), abs=1e-12)
    assert measure_entropy(-7 * values) == pytest.approx(measure_entropy(values), abs=0.05)
    assert np.isnan(measure_entropy(np.ones((3, 3))))


def make(magnitude: float, signed: float) -> Randomisation:
    ends = [np.full((1, 2, 3), value) for value in (magnitude, signed)]
    return Randomisation((1, 2), ends[0], ends[1], ends[0], np.array([[[2.0, 3.0]] * 3]))


def test_maps_that_keep_their_places_and_lose_their_signs_are_described_as_such() -> None:
    assert make(0.2, 0.9).describe_unchanged() == ("",)
    assert make(0.9, 0.9).describe_unchanged() == (
        "keep a rank correlation of 0.90 when all weights are random, so they show the image and not this network.",
    )
    assert make(0.9, 0.1).describe_unchanged() == (
        "keep a rank correlation of 0.90 in magnitude when all weights are random (0.10 with signs), "
        "so where they are large shows the image and not this network.",
    )


def test_the_rise_of_entropy_is_relative_to_the_maps_own() -> None:
    assert make(0.9, 0.9).mean_rise() == pytest.approx([0.5])
    assert Randomisation.without(2).to_dict() == {
        "layers": [], "correlations": [[], []], "signed": [[], []], "structure": [[], []], "rise": [None, None],
    }  # fmt: skip
