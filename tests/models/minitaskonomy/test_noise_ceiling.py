"""How well seeds of the oracle predict each other."""

from __future__ import annotations

import numpy as np
import pytest

from models.minitaskonomy.oracle import (
    noise_ceiling,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_seeds_that_agree_predict_each_other(rng: np.random.Generator) -> None:
    order = rng.permuted(np.tile(np.arange(12.0), (4, 1)), axis=1)
    allowed = np.ones((4, 12), bool)
    same = noise_ceiling.measure_ceiling(np.repeat(order[..., None], 3, axis=2), allowed)
    assert same.precision == (1.0,) * 5
    assert same.tau == pytest.approx(1.0)
    against = noise_ceiling.measure_ceiling(np.stack([order, -order], axis=2), allowed)
    assert against.precision == (0.0,) * 5
    assert against.tau == pytest.approx(-1.0)
    noise = noise_ceiling.measure_ceiling(rng.standard_normal((200, 12, 2)), np.ones((200, 12), bool))
    assert noise.precision == pytest.approx((5 / 12,) * 5, abs=0.08)


def test_more_seeds_predict_better(rng: np.random.Generator) -> None:
    losses = np.arange(12.0)[None, :, None] + 4 * rng.standard_normal((40, 12, 8))
    allowed = np.ones((40, 12), bool)
    assert noise_ceiling.measure_ceiling(losses, allowed, 4).tau > noise_ceiling.measure_ceiling(losses, allowed, 1).tau + 0.1
    with pytest.raises(ValueError, match="8 of 8 seeds"):
        noise_ceiling.measure_ceiling(losses, allowed, 8)


def test_candidates_that_are_not_allowed_count_nowhere(rng: np.random.Generator) -> None:
    losses = rng.standard_normal((3, 9, 4))
    allowed = np.ones((3, 9), bool)
    allowed[:, 4] = False
    changed = losses.copy()
    changed[:, 4] = 99.0
    assert noise_ceiling.measure_ceiling(losses, allowed) == noise_ceiling.measure_ceiling(changed, allowed)
