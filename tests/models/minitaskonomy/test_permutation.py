"""What choosing gains by chance: taus against SciPy, and deals of names."""

from __future__ import annotations

import numpy as np
import pytest

from models.minitaskonomy.study import (
    permutation,
)
from tests.models.minitaskonomy.helpers import (
    Values,
)


def test_taus_are_scipys(rng: np.random.Generator) -> None:
    from scipy.stats import weightedtau

    predicted, truth = rng.random((4, 3, 9)), rng.random((2, 3, 9))
    found = permutation.compute_taus(predicted, truth)
    for variant, deal, target in np.ndindex(found.shape):
        expected = weightedtau(predicted[variant, target], truth[deal, target]).statistic
        assert found[variant, deal, target] == pytest.approx(expected)
    assert not permutation.compute_taus(np.zeros((1, 3, 9)), truth).any()


def test_deals_carry_rows_and_columns(rng: np.random.Generator) -> None:
    oracle = rng.random((5, 5))
    orders = permutation.draw_deals(5, 3)
    found = permutation.apply_deals(oracle, orders)
    np.testing.assert_array_equal(found[0], oracle[~np.eye(5, dtype=bool)].reshape(5, 4))
    assert all(sorted(order) == list(range(5)) for order in orders.tolist())
    first, second = orders[2, :2]
    assert found[2, 0, 0] == oracle[first, second]


def _gain(oracle: Values, variants: Values, default: Values) -> permutation.ChanceGain:
    orders = permutation.draw_deals(len(oracle), 200)
    truth = permutation.apply_deals(oracle, orders)
    found, mine = (permutation.compute_taus(permutation.drop_own(values), truth) for values in (variants, default[None]))
    return permutation.measure_nested(found, mine[0], [str(i) for i in range(len(oracle))], orders)


def test_luck_with_good_sources_is_no_proof_and_knowledge_is(rng: np.random.Generator) -> None:
    good = rng.random(20)
    oracle = good[None, :] + 0.1 * rng.random((20, 20))  # some sources are good for all
    lucky = np.broadcast_to(rng.random((200, 1, 20)), (200, 20, 20)) + 0.01 * rng.random((200, 20, 20))
    blind = rng.random((20, 20))
    luck = _gain(oracle, lucky, blind)
    assert luck.mean > 0.2  # though every target was left out of its own choice
    assert luck.p > 0.02
    knowing = _gain(oracle, np.concatenate([lucky, oracle[None]]), blind)
    assert knowing.p < 0.02
    assert knowing.gain > knowing.high


def test_luck_across_halves_is_the_same(rng: np.random.Generator) -> None:
    oracle = rng.random((12, 12))
    orders = permutation.draw_deals(12, 100)
    truth = permutation.apply_deals(oracle, orders)
    variants = np.concatenate([rng.random((50, 12, 12)), oracle[None]])
    found, blind = (
        permutation.compute_taus(permutation.drop_own(values), truth) for values in (variants, rng.random((1, 12, 12)))
    )
    luck = permutation.measure_across_halves([found, found], [blind[0], blind[0]])
    assert luck.gain == pytest.approx(float((found[-1, 0] - blind[0, 0]).mean()))
    assert luck.p == pytest.approx(1 / 101)
