"""Measures of scores against the oracle, the baselines, and the ceiling of the oracle itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.study import (
    evaluation,
)
from models.minitaskonomy.study.evaluation import GROUPS, Oracle
from onnxspace.evaluation import Table, evaluate
from tests.models.minitaskonomy.helpers import (
    P3,
    TAU,
    make_oracle,
    make_score,
    make_zoo,
    write_oracle,
)


def test_a_score_equal_to_the_oracle_has_its_curve_and_no_regret(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path)
    oracle = make_oracle(zoo, rng)
    found = evaluation.judge(make_score(7 * oracle.mean - 3), oracle.mean, zoo, "tasks")
    assert found is not None
    assert found.mean == pytest.approx([1, 1, 1, 1, 1, 0])


def test_a_random_order_has_the_expected_precision(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path)
    oracle = make_oracle(zoo, rng)
    random = next(one for one in evaluation.make_baselines(oracle, zoo) if one.name == "random")
    found = evaluation.judge(random, oracle.mean, zoo, "tasks")
    assert found is not None
    assert found.mean[:5] == pytest.approx([5 / 19] * 3 + [10 / 19, 0])
    drawn = [evaluation.judge(make_score(rng.random(oracle.mean.shape)), oracle.mean, zoo, "tasks") for _ in range(40)]
    assert np.mean([one.mean[P3] for one in drawn if one]) == pytest.approx(5 / 19, abs=0.03)


def test_measures_are_those_of_the_tools_evaluation(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path, others=("depth-vit", "semantic-vit"))
    oracle = make_oracle(zoo, rng)
    values = oracle.mean + rng.standard_normal(oracle.mean.shape)
    for group, columns in zip(GROUPS, (zoo.main, np.ones(len(zoo.names), bool)), strict=True):
        names = tuple(np.array(zoo.names)[columns])
        tables = [
            Table(name, name, oracle.targets, names, grid_[:, columns]) for name, grid_ in (("o", oracle.mean), ("p", values))
        ]
        expected = evaluate(tables[0], tables[1:]).scored[0].measures
        found = evaluation.judge(make_score(values), oracle.mean, zoo, group)
        assert found is not None
        assert found.mean[:3] == pytest.approx(expected["precision"].mean[[0, 2, 4]])
        assert found.mean[3] == pytest.approx(expected["recall"].mean[9])
        assert [found.mean[TAU], found.low[TAU], found.high[TAU]] == pytest.approx(
            [float(getattr(expected["weighted_tau"], part)[0]) for part in ("mean", "low", "high")]
        )
        assert found.mean[5] == pytest.approx(expected["regret"].mean[0])


def test_a_score_that_lacks_other_architectures_is_judged_among_the_tasks_only(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    zoo = make_zoo(tmp_path, others=("depth-vit",))
    oracle = make_oracle(zoo, rng)
    values = np.where(zoo.main, oracle.mean, np.nan)
    assert evaluation.judge(make_score(values), oracle.mean, zoo, "tasks") is not None
    assert evaluation.judge(make_score(values), oracle.mean, zoo, "architectures") is None


def test_baselines_do_not_see_the_target(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path, others=("depth-vit",))
    oracle = make_oracle(zoo, rng)
    before = evaluation.make_baselines(oracle, zoo)
    oracle.values[:, 3] = np.where(np.isnan(oracle.values[:, 3]), np.nan, rng.random(oracle.values[:, 3].shape))
    for one, other in zip(before, evaluation.make_baselines(oracle, zoo), strict=True):
        np.testing.assert_array_equal(one.values[3], other.values[3])
    same = next(one for one in before if one.name == "same architecture first").values
    assert same[0, -1] == 0
    assert set(same[0, 1:20]) == {1.0}


def test_the_ceiling_is_one_without_noise_and_falls_with_it(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path)
    taus = []
    for noise in (0.0, 0.1, 1.0):
        found = evaluation.judge_ceiling(make_oracle(zoo, rng, noise=noise), zoo, "tasks")
        assert found is not None
        taus.append(found.mean[TAU])
    assert taus[0] == pytest.approx(1)
    assert taus[0] > taus[1] > taus[2]


def test_the_oracle_is_read_in_any_order_without_a_targets_own_model(tmp_path: Path, rng: np.random.Generator) -> None:
    oracle = make_oracle(make_zoo(tmp_path, ("depth", "normals", "object")), rng, seeds=2)
    write_oracle(oracle, tmp_path / "oracle.csv")
    head, *rows = (tmp_path / "oracle.csv").read_text().splitlines()
    (tmp_path / "oracle.csv").write_text("\n".join([head, *rng.permutation(rows)]))
    found = Oracle.read(tmp_path / "oracle.csv", oracle.targets, oracle.sources)
    np.testing.assert_allclose(found.values, oracle.values)
    assert np.isnan(np.diagonal(found.mean)).all()
    np.testing.assert_allclose(found.half(True), oracle.values[1])
