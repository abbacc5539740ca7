"""Successive halving on made-up learners: who is trained for how long, the order that follows, budgets and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from onnxspace.finetuning import race as module
from onnxspace.finetuning.race import Budget, Candidate, Race, Rung, order_candidates, plan_stages

RUNGS = (Rung(3, 1.0), Rung(6, 0.5), Rung(9, 0.25))


class Learners:
    """Learner i has the result `skills[i]` less 1 / epochs; each epoch takes `seconds`. Jobs are recorded."""

    def __init__(self, skills: Sequence[float], seconds: float = 1.0, broken: frozenset[int] = frozenset()) -> None:
        self.skills, self.seconds, self.broken = skills, seconds, broken
        self.jobs: list[tuple[int, int, int, int]] = []
        self.clock = 0.0

    def advance(self, jobs: Sequence[tuple[int, int, int, int]]) -> list[Mapping[str, Any]]:
        self.jobs += jobs
        return [self._answer(*job) for job in jobs]

    def _answer(self, model: int, _fold: int, first: int, last: int) -> dict[str, Any]:
        self.clock += self.seconds * (last - first)
        if model in self.broken:
            return {"error": f"{model} is broken."}
        result = self.skills[model] - 1 / last
        return {"losses": [0.0] * (last - first), "results": [result] * 4, "judged": [-result] * 4,
                "seconds": self.seconds * (last - first)}  # fmt: skip

    def epochs(self, model: int) -> int:
        return sum(last - first for i, _, first, last in self.jobs if i == model)


@pytest.fixture
def skills() -> list[float]:
    return list(np.random.default_rng(0).permutation(16) / 16)


def _race(learners: Learners, budget: float | None, monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    monkeypatch.setattr(module.time, "monotonic", lambda: learners.clock)
    return Race(len(learners.skills), RUNGS, learners.advance, Budget(budget, 0.0)).run()


def test_halving_finds_the_order_at_a_part_of_the_cost(skills: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    learners = Learners(skills)
    order = order_candidates(_race(learners, None, monkeypatch))
    assert [skills[i] for i in order] == sorted(skills, reverse=True)
    assert [learners.epochs(i) for i in order] == [9] * 4 + [6] * 4 + [3] * 8
    assert learners.clock == 4 * 9 + 4 * 6 + 8 * 3


@pytest.mark.parametrize("budget", [200.0, 400.0, 1000.0, 2000.0])
def test_a_budget_is_used_and_kept(skills: list[float], budget: float, monkeypatch: pytest.MonkeyPatch) -> None:
    learners = Learners(skills)
    order = order_candidates(_race(learners, budget, monkeypatch))
    assert 0.8 * budget <= learners.clock <= budget
    assert [skills[i] for i in order] == sorted(skills, reverse=True)


def test_a_large_budget_ends_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    learners = Learners([0.1, 0.2])
    found = _race(learners, 1e6, monkeypatch)
    assert learners.clock == 2 * 9 * 16
    assert all(set(one.epochs.values()) == {9} and len(one.epochs) == 16 for one in found)


def test_failures_leave_the_others(skills: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    learners = Learners(skills, broken=frozenset({3, 7}))
    found = _race(learners, 500.0, monkeypatch)
    order = order_candidates(found)
    assert {i for i, one in enumerate(found) if one.error} == {3, 7}
    assert [skills[i] for i in order] == sorted((s for i, s in enumerate(skills) if i not in (3, 7)), reverse=True)


def test_all_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _race(Learners([0.5, 0.6], broken=frozenset({0, 1})), 100.0, monkeypatch)
    assert order_candidates(found) == []


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_models(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    learners = Learners([i / 10 for i in range(count)])
    order = order_candidates(_race(learners, None, monkeypatch))
    assert order == list(range(count))[::-1]
    assert learners.epochs(order[0]) == 9


def test_plans_keep_to_the_budget() -> None:
    for budget in (1.0, 10.0, 50.0, 90.0, 200.0):
        plan = plan_stages(RUNGS, 225, 0.1, budget)
        epochs = plan.rungs[0].epochs + 0.5 * (plan.rungs[1].epochs - plan.rungs[0].epochs)
        epochs += 0.25 * (plan.rungs[2].epochs - plan.rungs[1].epochs)
        needed = 0.1 * epochs * (plan.images or 225)
        assert plan.short is (budget < 0.1 * 225 * 5.25 / 0.85)
        if budget >= 0.1 * 64 * 5.25 / 0.85:
            assert needed <= budget
        assert plan.images == 0 or plan.images >= 64
        assert plan.rungs[0].epochs >= 1


def test_ties_share_ranks() -> None:
    same = [_trained() for _ in range(3)]
    assert order_candidates([*same, _trained(loss=0.5)]) == [3, 0, 1, 2]


def test_readouts_settle_what_results_leave_open() -> None:
    assert order_candidates([_trained(readout=0.4), _trained(readout=0.6)]) == [1, 0]
    assert order_candidates([_trained(readout=0.4, loss=0.5), _trained(readout=0.6)]) == [0, 1]


def test_results_elsewhere_settle_what_is_open() -> None:
    assert order_candidates([_trained(elsewhere=2.0), _trained(elsewhere=1.0)]) == [1, 0]
    assert order_candidates([_trained(), _trained(elsewhere=3.0), _trained(elsewhere=1.0)]) == [2, 0, 1]


def test_a_model_without_a_readout_has_the_middle_rank() -> None:
    assert order_candidates([_trained(readout=0.2), _trained(), _trained(readout=0.6)]) == [2, 1, 0]


def _trained(loss: float = 1.0, readout: float | None = None, elsewhere: float | None = None) -> Candidate:
    return Candidate(readout, elsewhere, 0, {0: 3}, {0: [0.5, 0.5]}, {0: [1.0, 1.0]}, {0: [2.0, 1.0, loss]})
