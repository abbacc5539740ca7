"""Bootstrap intervals and settled rankings against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace import certainty
from onnxspace.certainty import bootstrap, settled
from onnxspace.errors import ConfigError
from tests.oracles import spaces


def made(images: int, models: int, seed: int = 0, spread: float = 0.1) -> NDArray[np.float64]:
    """Cosines of models whose affinity falls with the distance of their numbers."""
    rng = np.random.default_rng(seed)
    place = np.arange(models)
    noise = rng.standard_normal((images, models, models)) * spread
    found = 0.9 - 0.1 * np.abs(place[:, None] - place) + (noise + noise.transpose(0, 2, 1)) / 2
    found[:, place, place] = 1
    return np.clip(found, -1, 1)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = []
    for seed in range(60):
        found = bootstrap(made(80, 3, seed), 300, seed)
        inside.append(found.low[0, 1] <= 0.8 <= found.high[0, 1])
    assert 0.85 <= np.mean(inside) <= 1


def test_width_is_that_of_the_normal_approximation() -> None:
    found = bootstrap(made(400, 4), 2000)
    expected = 2 * 1.96 * made(400, 4)[:, 0, 2].std() / np.sqrt(400)
    assert found.high[0, 2] - found.low[0, 2] == pytest.approx(expected, rel=0.1)
    assert (np.diag(found.low) == 1).all()
    assert (np.diag(found.high) == 1).all()


def test_shares_are_counted_one_by_one_and_add_up() -> None:
    cosines = made(12, 5, spread=0.5)
    cosines[:, :, 4] = cosines[:, :, 3]
    found = bootstrap(cosines, 200, seed=3)
    drawn = certainty._weights(12, 200, 3) @ cosines[:, 0]
    for a, b in ((1, 2), (2, 1), (3, 2), (3, 4)):
        assert found.ahead[0, a, b] == pytest.approx(spaces.ahead(drawn, 0, a, b), abs=1e-6)
    assert found.ahead[0, 3, 4] == 0.5
    np.testing.assert_allclose(found.ahead + found.ahead.transpose(0, 2, 1), np.where(np.isnan(found.ahead), np.nan, 1))
    assert np.isnan(found.ahead[2, 2]).all()
    assert np.isnan(found.ahead[2, :, 2]).all()


def test_same_seed_same_result_and_targets_pick_rows() -> None:
    cosines = made(20, 4)
    one, two, other = bootstrap(cosines, 100, 1), bootstrap(cosines, 100, 1, targets=[2]), bootstrap(cosines, 100, 2)
    np.testing.assert_array_equal(one.low[2], two.low[0])
    np.testing.assert_array_equal(one.ahead[2], two.ahead[0])
    assert (one.low != other.low).any()
    assert two.targets == (2,)


def test_weights_count_every_draw() -> None:
    weights = certainty._weights(7, 50, 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6), st.integers(10, 24))
def test_settled_is_its_definition(images: int, models: int, seed: int, stretch: int) -> None:
    cosines = np.random.default_rng(seed).integers(-4, 5, (images, models, models)) / 4  # exact sums, many ties
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certainty, "_STRETCH", 2**stretch)
        assert settled(cosines) == spaces.settled(cosines)


def test_settled_of_clear_and_of_late_rankings() -> None:
    assert settled(made(30, 4, spread=0.0)) == 1
    late = made(30, 3, spread=0.0)
    late[-1, 0, 1], late[:-1, 0, 1] = 1.0, late[0, 0, 2] - 0.001
    assert settled(late) == 30


@pytest.mark.parametrize("shape", [(0, 2, 2), (3, 2, 4), (2, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for use in (bootstrap, settled):
        with pytest.raises(ConfigError, match="shape"):
            use(np.zeros(shape))


def test_no_resample_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        bootstrap(made(3, 2), 0)
