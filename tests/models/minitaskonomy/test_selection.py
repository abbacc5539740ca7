"""The choice of a default: no choice sees its target, and differences are paired."""

from __future__ import annotations

import numpy as np
import pytest

from models.minitaskonomy.study import (
    selection,
)


def test_a_choice_never_sees_its_target() -> None:
    values = np.zeros((3, 6))
    values[0] = 0.5
    values[1, 2] = 100.0  # so good on one target that it would be chosen there, and only there, by who looks
    values[2] = [0.4] * 6
    names = list("abcdef")
    chosen = selection.select_elsewhere(values, names)
    assert chosen[2] == 0
    assert (np.delete(chosen, 2) == 1).all()
    found = selection.select_nested(values, values, np.full(6, 0.5), names)
    assert found.chosen_mean == pytest.approx((0.5 + 0) / 6)
    assert not found.wins


def test_a_choice_sees_no_target_of_the_same_group() -> None:
    values = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.6, 0.6]])
    groups = ["2D", "2D", "3D", "3D"]
    assert selection.select_elsewhere(values, list("abcd")).tolist() == [1, 1, 0, 0]
    assert selection.select_elsewhere(values, groups).tolist() == [1, 1, 0, 0]
    assert selection.select_nested(values, values, np.zeros(4), groups).chosen_mean == 0.0
    values = np.array([[1.0, 1.0, 0.1, 0.0], [0.0, 0.0, 0.6, 0.6]])
    assert selection.select_elsewhere(values, list("abcd")).tolist() == [1, 1, 0, 0]


def test_what_was_lucky_on_some_seeds_is_judged_on_the_others() -> None:
    lucky, steady = np.full(5, 0.9), np.full(5, 0.6)
    halves = [np.stack([lucky, steady]), np.stack([lucky - 0.8, steady])]
    found = selection.select_across_seeds(halves, halves, [steady - 0.1, steady - 0.1])
    assert found.chosen == ((0, 1), (1, 1))
    assert found.chosen_mean == pytest.approx((0.1 + 0.6) / 2)


def test_the_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    default = rng.random(20)
    sure = selection.compare(default, default + 0.01)
    assert (sure.difference, sure.low, sure.high) == pytest.approx((0.01, 0.01, 0.01))
    assert sure.wins
    unsure = selection.compare(default, default + np.tile([1.0, -0.9], 10))
    assert unsure.low < 0 < unsure.difference < unsure.high
    assert not unsure.wins


def test_the_interval_of_a_difference_is_the_bootstraps() -> None:
    rng = np.random.default_rng(1)
    default, chosen = rng.random(20), rng.random(20) + 0.3
    found = selection.compare(default, chosen)
    drawn = [np.mean((chosen - default)[rng.integers(0, 20, 20)]) for _ in range(4000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.02)
