"""Mass and ranks of maps on objects, against the papers' formulas pixel by pixel, and what chance has of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxspace.evaluation.faithfulness.localisation import measure_mass, measure_ranks, score_chance
from tests.helpers.examples import examples
from tests.oracles import faithfulness as slow


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.zeros((7, 9), bool)
    top, left = random.integers(0, 5, 2)
    mask[top : top + random.integers(1, 4), left : left + random.integers(1, 5)] = True
    return random.random((7, 9)), mask


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 10**6))
def test_mass_and_ranks_are_those_of_the_papers(seed: int) -> None:
    values, mask = draw(seed)
    assert measure_mass(values, mask) == pytest.approx(slow.mass(values, mask), abs=1e-12)
    assert measure_ranks(values, mask) == pytest.approx(slow.ranks(values, mask), abs=1e-12)
    assert measure_mass(3 * values, mask) == pytest.approx(measure_mass(values, mask))
    assert measure_mass(values, mask) + measure_mass(values, ~mask) == pytest.approx(1)


def test_a_map_of_the_object_itself_has_one_and_a_map_beside_it_none() -> None:
    _, mask = draw(0)
    inside, outside = mask.astype(np.float64), (~mask).astype(np.float64)
    assert (measure_mass(inside, mask), measure_ranks(inside, mask)) == (1, 1)
    assert (measure_mass(outside, mask), measure_ranks(outside, mask)) == (0, 0)


def test_maps_without_mass_or_order_have_no_value() -> None:
    _, mask = draw(0)
    assert np.isnan(measure_mass(np.zeros(mask.shape), mask))
    assert np.isnan(measure_ranks(np.ones(mask.shape), mask))


@pytest.mark.parametrize("measure", [measure_mass, measure_ranks])
def test_chance_is_the_share_of_the_image_on_average(measure: object) -> None:
    assert callable(measure)
    _, mask = draw(3)
    chance = score_chance([mask, None], measure)
    found = [measure(np.random.default_rng(seed).random(mask.shape), mask) for seed in range(400)]
    assert chance[0, 0] == pytest.approx(mask.mean())
    assert np.mean(found) == pytest.approx(mask.mean(), abs=0.03)
    assert np.isnan(chance[:, 1]).all()
