"""The study of the small Taskonomy: its arithmetic against slow twins, honest choices, and pieces that are kept."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from models.minitaskonomy import (
    chance,
    choosing,
    explained,
    figures,
    headline,
    jobs,
    judged,
    labelled,
    maps,
    page,
    predicting,
    sanity,
    scored,
    study,
)
from models.minitaskonomy.judged import GROUPS, MEASURES, Oracle
from models.minitaskonomy.kept import Kept, recipe
from models.minitaskonomy.results import Results
from models.minitaskonomy.scored import Score
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import Entry, Zoo, entries, grid
from onnxspace.errors import OnnxspaceError
from onnxspace.evaluation import Table, evaluate
from onnxspace.inputs.probes import Probes
from onnxspace.scores import predictivity
from onnxspace.scores.pairs.predictivity import RIDGES
from onnxspace.scores.pairs.predictivity import explained as explained_by
from tests.helpers import nets
from tests.helpers.paths import REPOSITORY

TAU, P3 = MEASURES.index("tau"), MEASURES.index("P@3")
Values = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def zoo_of(folder: Path, tasks: Sequence[str] = tuple(TASKS), others: Sequence[str] = ()) -> Zoo:
    """Names without files behind them."""
    names = [*tasks, *others]
    parts = [(name, *name.partition("-")[::2]) for name in names]
    return Zoo([Entry(name, task, made or "residual", folder / f"{name}.onnx") for name, task, made in parts], folder / "study")


def an_oracle(zoo: Zoo, rng: np.random.Generator, seeds: int = 4, noise: float = 0.05) -> Oracle:
    values = rng.random((len(zoo.targets), len(zoo.names))) + noise * rng.standard_normal(
        (seeds, len(zoo.targets), len(zoo.names))
    )
    values[:, np.arange(len(zoo.targets)), np.flatnonzero(zoo.main)] = np.nan
    return Oracle(tuple(zoo.targets), tuple(zoo.names), values)


def write_oracle(oracle: Oracle, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "source", "seed", "loss"])
        for seed, table in enumerate(oracle.values):
            for target, row in zip(oracle.targets, table, strict=True):
                for source, value in zip(oracle.sources, row, strict=True):
                    writer.writerow([target, source, seed, 0.0 if np.isnan(value) else 1 - value])


def a_score(
    values: Values, name: str = "s", kind: Any = "maps", options: str = "", probe: str = "rooms", images: int = 64
) -> Score:
    return Score(kind, name, options, probe, images, values)


# Measures


def test_a_score_equal_to_the_oracle_has_its_curve_and_no_regret(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path)
    oracle = an_oracle(zoo, rng)
    found = judged.judge(a_score(7 * oracle.mean - 3), oracle.mean, zoo, "tasks")
    assert found is not None
    assert found.mean == pytest.approx([1, 1, 1, 1, 1, 0])


def test_a_random_order_has_the_expected_precision(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path)
    oracle = an_oracle(zoo, rng)
    random = next(one for one in judged.beside(oracle, zoo) if one.name == "random")
    found = judged.judge(random, oracle.mean, zoo, "tasks")
    assert found is not None
    assert found.mean[:5] == pytest.approx([5 / 19] * 3 + [10 / 19, 0])
    drawn = [judged.judge(a_score(rng.random(oracle.mean.shape)), oracle.mean, zoo, "tasks") for _ in range(40)]
    assert np.mean([one.mean[P3] for one in drawn if one]) == pytest.approx(5 / 19, abs=0.03)


def test_measures_are_those_of_the_tools_evaluation(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path, others=("depth-vit", "semantic-vit"))
    oracle = an_oracle(zoo, rng)
    values = oracle.mean + rng.standard_normal(oracle.mean.shape)
    for group, columns in zip(GROUPS, (zoo.main, np.ones(len(zoo.names), bool)), strict=True):
        names = tuple(np.array(zoo.names)[columns])
        tables = [
            Table(name, name, oracle.targets, names, grid_[:, columns]) for name, grid_ in (("o", oracle.mean), ("p", values))
        ]
        expected = evaluate(tables[0], tables[1:]).scored[0].measures
        found = judged.judge(a_score(values), oracle.mean, zoo, group)
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
    zoo = zoo_of(tmp_path, others=("depth-vit",))
    oracle = an_oracle(zoo, rng)
    values = np.where(zoo.main, oracle.mean, np.nan)
    assert judged.judge(a_score(values), oracle.mean, zoo, "tasks") is not None
    assert judged.judge(a_score(values), oracle.mean, zoo, "architectures") is None


def test_baselines_do_not_see_the_target(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path, others=("depth-vit",))
    oracle = an_oracle(zoo, rng)
    before = judged.beside(oracle, zoo)
    oracle.values[:, 3] = np.where(np.isnan(oracle.values[:, 3]), np.nan, rng.random(oracle.values[:, 3].shape))
    for one, other in zip(before, judged.beside(oracle, zoo), strict=True):
        np.testing.assert_array_equal(one.values[3], other.values[3])
    same = next(one for one in before if one.name == "same architecture first").values
    assert same[0, -1] == 0
    assert set(same[0, 1:20]) == {1.0}


def test_the_ceiling_is_one_without_noise_and_falls_with_it(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path)
    taus = []
    for noise in (0.0, 0.1, 1.0):
        found = judged.ceiling(an_oracle(zoo, rng, noise=noise), zoo, "tasks")
        assert found is not None
        taus.append(found.mean[TAU])
    assert taus[0] == pytest.approx(1)
    assert taus[0] > taus[1] > taus[2]


def test_the_oracle_is_read_in_any_order_without_a_targets_own_model(tmp_path: Path, rng: np.random.Generator) -> None:
    oracle = an_oracle(zoo_of(tmp_path, ("depth", "normals", "object")), rng, seeds=2)
    write_oracle(oracle, tmp_path / "oracle.csv")
    head, *rows = (tmp_path / "oracle.csv").read_text().splitlines()
    (tmp_path / "oracle.csv").write_text("\n".join([head, *rng.permutation(rows)]))
    found = Oracle.read(tmp_path / "oracle.csv", oracle.targets, oracle.sources)
    np.testing.assert_allclose(found.values, oracle.values)
    assert np.isnan(np.diagonal(found.mean)).all()
    np.testing.assert_allclose(found.half(True), oracle.values[1])


# Choosing


def test_a_choice_never_sees_its_target() -> None:
    values = np.zeros((3, 6))
    values[0] = 0.5
    values[1, 2] = 100.0  # so good on one target that it would be chosen there, and only there, by who looks
    values[2] = [0.4] * 6
    names = list("abcdef")
    chosen = choosing.elsewhere(values, names)
    assert chosen[2] == 0
    assert (np.delete(chosen, 2) == 1).all()
    found = choosing.nested(values, values, np.full(6, 0.5), names)
    assert found.chosen_mean == pytest.approx((0.5 + 0) / 6)
    assert not found.wins


def test_a_choice_sees_no_target_of_the_same_group() -> None:
    values = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.6, 0.6]])
    groups = ["2D", "2D", "3D", "3D"]
    assert choosing.elsewhere(values, list("abcd")).tolist() == [1, 1, 0, 0]
    assert choosing.elsewhere(values, groups).tolist() == [1, 1, 0, 0]
    assert choosing.nested(values, values, np.zeros(4), groups).chosen_mean == 0.0
    values = np.array([[1.0, 1.0, 0.1, 0.0], [0.0, 0.0, 0.6, 0.6]])
    assert choosing.elsewhere(values, list("abcd")).tolist() == [1, 1, 0, 0]


def test_what_was_lucky_on_some_seeds_is_judged_on_the_others() -> None:
    lucky, steady = np.full(5, 0.9), np.full(5, 0.6)
    halves = [np.stack([lucky, steady]), np.stack([lucky - 0.8, steady])]
    found = choosing.across_seeds(halves, halves, [steady - 0.1, steady - 0.1])
    assert found.chosen == ((0, 1), (1, 1))
    assert found.chosen_mean == pytest.approx((0.1 + 0.6) / 2)


def test_the_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    default = rng.random(20)
    sure = choosing.compared(default, default + 0.01)
    assert (sure.difference, sure.low, sure.high) == pytest.approx((0.01, 0.01, 0.01))
    assert sure.wins
    unsure = choosing.compared(default, default + np.tile([1.0, -0.9], 10))
    assert unsure.low < 0 < unsure.difference < unsure.high
    assert not unsure.wins


def test_the_interval_of_a_difference_is_the_bootstraps() -> None:
    rng = np.random.default_rng(1)
    default, chosen = rng.random(20), rng.random(20) + 0.3
    found = choosing.compared(default, chosen)
    drawn = [np.mean((chosen - default)[rng.integers(0, 20, 20)]) for _ in range(4000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.02)


def test_taus_are_scipys(rng: np.random.Generator) -> None:
    from scipy.stats import weightedtau

    predicted, truth = rng.random((4, 3, 9)), rng.random((2, 3, 9))
    found = chance.taus(predicted, truth)
    for variant, deal, target in np.ndindex(found.shape):
        expected = weightedtau(predicted[variant, target], truth[deal, target]).statistic
        assert found[variant, deal, target] == pytest.approx(expected)
    assert not chance.taus(np.zeros((1, 3, 9)), truth).any()


def test_deals_carry_rows_and_columns(rng: np.random.Generator) -> None:
    oracle = rng.random((5, 5))
    orders = chance.deals(5, 3)
    found = chance.dealt(oracle, orders)
    np.testing.assert_array_equal(found[0], oracle[~np.eye(5, dtype=bool)].reshape(5, 4))
    assert all(sorted(order) == list(range(5)) for order in orders.tolist())
    first, second = orders[2, :2]
    assert found[2, 0, 0] == oracle[first, second]


def _gain(oracle: Values, variants: Values, default: Values) -> chance.Luck:
    orders = chance.deals(len(oracle), 200)
    truth = chance.dealt(oracle, orders)
    found, mine = (chance.taus(chance.without_own(values), truth) for values in (variants, default[None]))
    return chance.nested(found, mine[0], [str(i) for i in range(len(oracle))], orders)


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
    orders = chance.deals(12, 100)
    truth = chance.dealt(oracle, orders)
    variants = np.concatenate([rng.random((50, 12, 12)), oracle[None]])
    found, blind = (chance.taus(chance.without_own(values), truth) for values in (variants, rng.random((1, 12, 12))))
    luck = chance.across_halves([found, found], [blind[0], blind[0]])
    assert luck.gain == pytest.approx(float((found[-1, 0] - blind[0, 0]).mean()))
    assert luck.p == pytest.approx(1 / 101)


# Maps


def test_cosines_are_those_of_a_slow_twin(rng: np.random.Generator) -> None:
    made = rng.standard_normal((3, 4, 64)).astype(np.float32)
    made[1, 2] = 0
    found = maps.full(maps.cosines(made), 4)
    for image, row in enumerate(made.astype(np.float64)):
        for i, a in enumerate(row):
            for j, b in enumerate(row):
                length = np.linalg.norm(a) * np.linalg.norm(b)
                assert found[image, i, j] == pytest.approx(a @ b / length if length else 0, abs=1e-6)


def test_maps_less_what_they_have_in_common_are_those_of_a_slow_twin(rng: np.random.Generator) -> None:
    made = rng.standard_normal((3, 5, 64)) + 2 * rng.standard_normal((3, 1, 64))
    of = np.array([True, True, True, False, True])
    found = maps.less_common(maps.full(maps.cosines(made.astype(np.float32)), 5), of)
    for image, row in enumerate(made):
        unit = row / np.linalg.norm(row, axis=1, keepdims=True)
        unit = unit - unit[of].mean(axis=0)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        np.testing.assert_allclose(found[image], unit @ unit.T, atol=1e-5)


def test_equal_models_have_nothing_apart() -> None:
    assert not maps.less_common(np.ones((2, 4, 4)), np.ones(4, bool)).any()


def test_means_over_squares_are_those_of_a_loop(rng: np.random.Generator) -> None:
    made = rng.standard_normal((2, 3, 256)).astype(np.float32)
    found = maps.pooled(made, 4).reshape(2, 3, 4, 4)
    squares = made.astype(np.float64).reshape(2, 3, 16, 16)
    for i in range(4):
        for j in range(4):
            np.testing.assert_allclose(
                found[..., i, j], squares[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((-2, -1)), atol=1e-6
            )


def test_changes_do_what_they_say(rng: np.random.Generator) -> None:
    made = rng.standard_normal((6, 3, 256)).astype(np.float32)
    changed = {name: change(made) for name, change in maps.CHANGES.items()}
    np.testing.assert_allclose(np.sign(changed["root"]) * changed["root"] ** 2, made, atol=1e-6)
    for name in ("less its mean", "absolute, less its mean", "absolute, 8 x 8, less its mean"):
        np.testing.assert_allclose(changed[name].mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(changed["less the model's mean map"].mean(axis=0), 0, atol=1e-6)
    pearson = maps.full(maps.cosines(changed["less its mean"]), 3)
    np.testing.assert_allclose(pearson[0], np.corrcoef(made[0].astype(np.float64)), atol=1e-5)


def test_scores_of_maps_at_n_images_are_means_over_the_first_n(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path, ("depth", "normals", "object"), ("depth-vit",))
    pairs = maps.cosines(rng.standard_normal((40, 4, 16)).astype(np.float32))
    found = scored.scores_of(jobs.Job("maps", "rooms", jobs.MAPS[0]), {"elrp from zero": pairs, "elrp from blur": pairs}, zoo)
    plain = {(one.options, one.images): one.values for one in found if scored.COMMON not in one.options}
    assert sorted(plain) == [(o, n) for o in ("", "from blur") for n in (8, 16, 32)]
    expected = maps.full(pairs, 4)[:16].mean(axis=0)[:3]
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_allclose(plain["", 16], expected)


# Another explained number


@pytest.mark.parametrize("what", explained.EXPLAINED)
def test_copies_compute_what_they_explain(tmp_path: Path, rng: np.random.Generator, what: str) -> None:
    conv = helper.make_node("Conv", ["image", "w"], ["features"], pads=[1, 1, 1, 1])
    made = nets.model([conv], [nets.weight("w", 4, 3, 3, 3)], outputs=[nets.value("features", None)])
    nets.save(made, tmp_path / "a.onnx")
    images = rng.standard_normal((8, 3, 16, 16)).astype(np.float32)
    values = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).run(["features"], {"image": images})[0]
    explained.write(tmp_path / "a.onnx", "features", what, values, tmp_path / "copies/a.onnx")
    found = onnxruntime.InferenceSession(str(tmp_path / "copies/a.onnx")).run([what], {"image": images})[0].reshape(-1, 4)
    rows = explained.rows_of(values, 1)
    if what == "squares":
        expected = np.square(rows)
    elif what == "scaled":
        expected = rows / rows.std(axis=0)
    else:
        expected = np.square((rows - rows.mean(axis=0)) @ explained.whitening(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_whitened_features_are_the_same_in_other_directions(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((500, 5)) @ rng.standard_normal((5, 5))
    turned, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    sizes = [np.square((one - one.mean(axis=0)) @ explained.whitening(one)).sum(axis=1) for one in (rows, rows @ turned)]
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=1e-6)
    assert sizes[0].mean() == pytest.approx(5, rel=0.2)


# Predicting


def test_variants_are_ridge_regressions_position_by_position(rng: np.random.Generator) -> None:
    from sklearn.linear_model import Ridge

    features, outputs = rng.standard_normal((10, 3, 8, 8)), rng.standard_normal((10, 2, 16, 16))
    rows, answers = predicting.in_rows(features), predicting.patch_means(outputs)
    answers = answers - answers.mean(axis=0)
    shares = []
    for ridge in RIDGES:
        missed = there = 0.0
        for train, test in ((slice(0, 320), slice(320, 640)), (slice(320, 640), slice(0, 320))):
            centred = rows[train] - rows[train].mean(axis=0)
            fitted = Ridge(alpha=ridge * np.square(centred).sum() / 3).fit(rows[train], answers[train])
            missed += np.square(answers[test] - fitted.predict(rows[test])).sum()
            there += np.square(answers[test] - answers[train].mean(axis=0)).sum()
        shares.append(1 - missed / there)
    assert explained_by(rows, [answers], 10) == pytest.approx([max(shares)], abs=1e-5)


def test_predictivity_of_a_zoo_is_the_tools_on_the_models_own_features(rng: np.random.Generator) -> None:
    zoo = zoo_of(Path("nowhere"), others=("depth-vit",))
    features = [rng.standard_normal((12, 3, 8, 8)).astype(np.float32) for _ in zoo.entries]
    outputs = [rng.standard_normal((12, 1, 16, 16)).astype(np.float32) for _ in zoo.targets]
    found = predicting.predictivity_of(zoo, features, outputs, 10)
    assert found.shape == (21, 21)
    assert np.isnan(found[~zoo.main]).all()
    assert found[2, 20] == pytest.approx(predictivity(outputs[2][:10], features[20][:10]), abs=1e-6)


def test_means_of_patches_are_of_their_squares(rng: np.random.Generator) -> None:
    outputs = rng.standard_normal((3, 1, 64, 64)).astype(np.float32)
    means = predicting.patch_means(outputs)
    assert means.shape == (192, 1)
    np.testing.assert_allclose(means[9, 0], outputs[0, 0, 8:16, 8:16].mean(), atol=1e-6)


def test_any_encoder_has_a_grid(rng: np.random.Generator) -> None:
    first = rng.standard_normal((2, 5, 8, 8)).astype(np.float32)
    last = np.ascontiguousarray(np.moveaxis(first, 1, -1))
    tokens = np.concatenate([rng.standard_normal((2, 1, 5)).astype(np.float32), last.reshape(2, 64, 5)], axis=1)
    for form in (first, last, tokens, tokens[:, 1:]):
        np.testing.assert_array_equal(grid(form), first)
    assert grid(first[:, :, :4, :4])[0, 0, 7, 7] == first[0, 0, 3, 3]
    np.testing.assert_array_equal(grid(first[:, :, 0, 0])[:, :, 3, 3], first[:, :, 0, 0])


# Labels


def test_scores_with_labels_know_which_features_hold_them(rng: np.random.Generator) -> None:
    features = rng.standard_normal((24, 6, 8, 8)).astype(np.float32)
    noise = rng.standard_normal(features.shape).astype(np.float32)
    picture = np.kron(features[:, :2], np.ones((8, 8), np.float32))
    parts = {"image": picture, "vector": features.reshape(24, -1)[:, :3], "pixel classes": (picture[:, 0] > 0).astype(np.int64)}
    parts["classes"] = (features.mean(axis=(2, 3))[:, 0] > 0).astype(np.int64)
    for kind, labels in parts.items():
        mine, other = labelled.scores(features, labels, kind), labelled.scores(noise, labels, kind)
        assert mine["linear_probe"] > other["linear_probe"]
        assert set(mine) == set(labelled.OF_ALL) | (set(labelled.OF_CLASSES) if "classes" in kind else set())


# Kin


def test_a_matrix_of_groups_is_told_apart_and_chance_is_not(rng: np.random.Generator) -> None:
    groups = [task.group for task in TASKS.values()]
    block = np.array([[0.9 if a == b else 0.1 for b in groups] for a in groups]) + 0.01 * rng.random((20, 20))
    found = sanity.separation((block + block.T) / 2, groups)
    assert (found.rand, found.purity) == (1.0, 1.0)
    assert found.chance <= 0.01
    noise = rng.random((20, 20))
    assert sanity.separation((noise + noise.T) / 2, groups).chance > 0.01


def test_the_rand_index_is_scikit_learns(rng: np.random.Generator) -> None:
    from sklearn.metrics import adjusted_rand_score

    for _ in range(20):
        first, second = rng.integers(0, 3, 12), rng.integers(0, 4, 12)
        assert sanity.adjusted_rand(first, second) == pytest.approx(adjusted_rand_score(first, second))


def test_kin_have_their_places() -> None:
    names = ["depth", "distance", "normals", "curvature"]
    values = np.array([[9, 3, 2, 1], [1, 9, 3, 2], [1, 2, 9, 3], [3, 2, 1, 9.0]])
    assert sanity.places(values, names) == {("depth", "distance"): (1, 3), ("normals", "curvature"): (1, 3)}


def test_what_is_no_likeness_becomes_one() -> None:
    values = np.array([[np.nan, 30.0, 20, 10], [5, np.nan, 4, 3], [1, 2, np.nan, 3], [3, 2, 1, np.nan]])
    found = sanity.alike(values)
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] == 1.0  # each is the other's best
    assert found.min() >= 0


# Mixed scores


def test_depara_is_maps_and_edges(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = zoo_of(tmp_path, ("depth", "normals", "object", "scene"))
    nodes, edges = ((lambda m: (m + m.T) / 2)(rng.random((4, 4))) for _ in range(2))
    some = [
        a_score(nodes, "gradient-x-input"),
        a_score(edges, "edges", "features"),
        a_score(edges, "edges", "features", images=8),
    ]
    found = {one.options: one.values for one in scored.depara(some, zoo)}
    np.testing.assert_allclose(found["λ 0.25"], nodes + 0.25 * edges)
    upper = np.triu_indices(4, 1)
    np.testing.assert_allclose(found["λ auto"], nodes + nodes[upper].std() / edges[upper].std() * edges)


def test_mean_ranks_leave_out_what_has_no_value() -> None:
    values = np.array([[np.nan, 0.5, 0.9, 0.5]])
    np.testing.assert_array_equal(scored.ranks(values), [[np.nan, -2.5, -1, -2.5]])


# Pieces


def test_a_piece_is_made_once_and_again_where_it_is_damaged_or_another(tmp_path: Path) -> None:
    kept, made = Kept(tmp_path), []

    def make() -> dict[str, NDArray[Any]]:
        made.append(1)
        return {"rsa of means@64": np.arange(3.0)}

    for _ in range(2):
        np.testing.assert_array_equal(kept.get("a", "first", make)["rsa of means@64"], [0, 1, 2])
    assert len(made) == 1
    file = tmp_path / "a.npz"
    whole = file.read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole.replace(b"\x00\x00\x80?", b"\xff\xff\xff\xff")[:-30]):
        file.write_bytes(damaged)
        kept.get("a", "first", make)
        assert file.read_bytes() == whole
    assert len(made) == 5
    kept.get("a", "second", make)
    assert len(made) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Unwritable:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        Kept(tmp_path).write("a", "r", {"values": Unwritable()})  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())


def test_recipes_tell_facts_apart() -> None:
    facts = {"zoo": "abc", "told": {"images": 4}}
    assert recipe(facts) == recipe(dict(reversed(list(facts.items()))))
    assert recipe(facts) != recipe({**facts, "told": {"images": 5}})


def tiny_zoo(folder: Path, tasks: Sequence[str] = ("depth", "normals", "object")) -> None:
    """Networks of one convolution and a global mean."""
    for seed, name in enumerate(tasks):
        nodes = [
            helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1], strides=[8, 8]),
            helper.make_node("Relu", ["c"], ["features"]),
            helper.make_node("Conv", ["features", "v"], ["out"]),
        ]
        weights = [nets.weight("w", 4, 3, 3, 3, seed=seed), nets.weight("v", 2, 4, 1, 1, seed=seed)]
        nets.save(nets.model(nodes, weights, [nets.image(size=64)], [nets.value("out", None)]), folder / f"{name}.onnx")


class Pictures:
    """As much of a rendered split as the study asks for."""

    def images(self) -> NDArray[np.uint8]:
        return Probes.generate(4, 64, 1).images


def test_a_second_run_computes_nothing_and_one_piece_less_is_one_piece_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_zoo(tmp_path, ("depth", "normals"))
    (tmp_path / "scenery.onnx").write_bytes(b"")  # of no task
    assert [one.name for one in entries(tmp_path, list(TASKS))] == ["depth", "normals"]
    made: list[str] = []
    make = jobs.make
    monkeypatch.setattr(jobs, "PROBES", 4)
    monkeypatch.setattr(jobs, "DEFAULT_IMAGES", 1)
    monkeypatch.setattr(jobs, "make", lambda job, bench: [made.append(job.name), make(job, bench)][1])

    def go() -> list[str]:
        made.clear()
        study.run(
            tmp_path / "work", models=tmp_path, device="cpu", processes=1, only="large-rooms", rooms=lambda _: Pictures(),
            say=lambda _: None,
        )  # fmt: skip
        return list(made)

    assert go() == ["maps-lrp-epsilon-large-rooms", "maps-lrp-gamma-large-rooms"]
    assert go() == []
    piece = tmp_path / "work/study/pieces/maps-lrp-gamma-large-rooms.npz"
    piece.write_bytes(piece.read_bytes()[:-100])
    assert go() == ["maps-lrp-gamma-large-rooms"]
    before = Zoo(entries(tmp_path, list(TASKS)), tmp_path).sha256
    tiny_zoo(tmp_path, ("normals", "depth"))  # other weights under the same names
    assert Zoo(entries(tmp_path, list(TASKS)), tmp_path).sha256 != before


def test_pieces_of_every_kind_become_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_zoo(tmp_path)
    monkeypatch.setattr(jobs, "SKETCHES", (4,))
    zoo = Zoo(entries(tmp_path, list(TASKS)), tmp_path / "study")
    (tmp_path / "study").mkdir()
    np.save(tmp_path / "p.npy", Probes.generate(16, 64, 1).images)
    bench = jobs.Bench(zoo, {"rooms": tmp_path / "p.npy", jobs.DEFAULT: tmp_path / "p.npy"}, "cpu", lambda _: Pictures())
    whitened = next(one for one in jobs.MAPS if one.explained == "whitened")
    for job in (
        jobs.Job("features", "rooms"), jobs.Job("maps", "rooms", whitened), jobs.Job("pairs", "rooms", "cka"), jobs.Job("layers", "rooms"),
        jobs.Job("default", jobs.DEFAULT), jobs.Job("alone", "rooms"),
    ):  # fmt: skip
        scores = scored.scores_of(job, jobs.make(job, bench), zoo)
        assert bool(scores) is (job.kind != "features")
        for one in scores:
            assert one.values.shape == (3, 3)
            assert np.isnan(np.diagonal(one.values)).all()
            assert np.isfinite(one.values[~np.eye(3, dtype=bool)]).all()


def test_what_is_not_there_is_asked_for_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(OnnxspaceError, match="no models"):
        study.run(tmp_path / "work", models=tmp_path, rooms=lambda _: Pictures())
    tiny_zoo(tmp_path)
    with pytest.raises(OnnxspaceError, match="oracle first"):
        study.run(tmp_path / "work", models=tmp_path, rooms=lambda _: Pictures())
    assert not (tmp_path / "work").exists()


# Tables and the page


def made_up(zoo: Zoo, oracle: Oracle, rng: np.random.Generator) -> list[Score]:
    """Scores of every kind, better and worse."""

    def near(noise: float) -> Values:
        values = oracle.mean[:, zoo.main] + noise * rng.standard_normal((20, 20))
        values = np.clip((values + values.T) / 2, -1, 1)
        wide = np.pad(values, ((0, 0), (0, len(zoo.names) - 20)), constant_values=0.3)
        np.fill_diagonal(wide, np.nan)
        return wide

    some = [a_score(near(1.0), jobs.AFFINITY, probe="generated, 224 px")]
    for numbers in (4, 16):
        some.append(
            a_score(some[0].values + rng.standard_normal((20, len(zoo.names))) / numbers, "fingerprint", options=str(numbers))
        )
    for probe in ("rooms", "generated"):
        for images in (16, 512):
            some += [a_score(near(1.0), name, probe=probe, images=images) for name in ("elrp", "gradient-x-input", "saliency")]
            some += [a_score(near(0.4), name, "features", probe=probe, images=images) for name in ("rsa", "cka", "dds")]
            some += [a_score(near(0.5), "depara", "both", f"λ {weight:g}", probe, images) for weight in (0.03, 0.25, 1.0)]
            some += [a_score(near(0.05), "predictivity", "prediction", "", probe, images)]
    some += [a_score(near(0.3), jobs.DEFAULT, "prediction", probe="generated, 224 px")]
    some += [a_score(near(0.1), "linear_probe", "labels", probe="transfer", images=200)]
    half = near(0.1)
    half[:10] = np.nan
    return [*some, a_score(half, "sfda", "labels", probe="transfer", images=200)]


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(5)
    zoo = zoo_of(tmp_path, others=("depth-vit", "semantic-vit"))
    oracle = an_oracle(zoo, rng, noise=0.1)
    write_oracle(oracle, tmp_path / "oracle.csv")
    study.tables(zoo, made_up(zoo, oracle, rng), tmp_path / "oracle.csv", tmp_path)
    return tmp_path


def test_tables_say_what_was_found(study_folder: Path) -> None:
    found = Results(study_folder)
    assert found.last("oracle").mean["P@5"] == 1  # type: ignore[union-attr]
    assert found.last("random").mean["P@3"] == pytest.approx(5 / 19, abs=1e-4)  # type: ignore[union-attr]
    assert found.last("sfda").targets == 10  # type: ignore[union-attr]
    assert {one.group for one in found.measures} == set(GROUPS)
    taus = [row for row in found.choices if row["measure"] == "tau"]
    by_pool = {(row["against"], row["pool"], row["scheme"]): row for row in taus}
    alone = by_pool[jobs.AFFINITY, "the default alone", "leave one task out"]
    assert float(alone["chosen"]) == pytest.approx(found.last(jobs.DEFAULT).mean["tau"], abs=1e-3)  # type: ignore[union-attr]
    assert (jobs.DEFAULT, "the default alone", "other seeds") not in by_pool
    best = by_pool[jobs.AFFINITY, "any score", "leave one task out"]
    assert best["most chosen"].startswith("predictivity")
    assert float(best["difference"]) > float(by_pool[jobs.DEFAULT, "any score", "leave one task out"]["difference"])
    assert float(best["low"]) > 0
    assert float(best["p"]) < 0.01
    assert not any(row["most chosen"].startswith(("linear_probe", "sfda", "random")) for row in found.choices)
    errors = {row["numbers"]: float(row["error"]) for row in found.fingerprints}
    assert errors["4"] > errors["16"] > errors["exact"] == 0
    assert (study_folder / "scores.csv").stat().st_size < 1_500_000
    assert (study_folder / "measures.csv").read_text().count("fingerprint") == 0


def test_values_are_read_as_written(study_folder: Path) -> None:
    found = Results(study_folder)
    probe = found.last("linear_probe")
    assert probe is not None
    values = found.values[found.key(probe)]
    assert values.shape == (20, 22)
    names = [found.targets.index(name) for name in ("depth", "distance")]
    assert np.isnan(values[names, names]).all()
    assert np.isfinite(values[names[0], names[1]])


def test_the_page_is_made_of_the_tables_alone_and_the_same_each_time(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.write(study_folder, tmp_path / "docs")
    first = {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()}
    (tmp_path / "docs/minitaskonomy.md").write_text("torn")
    for name in ("oracle", "precision", "images", "trees", "rooms"):  # drawn once is enough here
        monkeypatch.setattr(figures, {"precision": "curves", "images": "by_images"}.get(name, name), lambda *_: None)
    page.write(study_folder, tmp_path / "docs")
    assert {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()} == first
    text = first["minitaskonomy.md"].decode()
    assert "Against the default, predictivity" in text
    assert "Photos were not given" in text
    assert "minitaskonomy-rooms.png" not in text
    for name in (word.split(")")[0] for word in text.split("](") if word.startswith("minitaskonomy-")):
        assert first[name].startswith(b"\x89PNG")
    assert "nan" not in text


def test_rooms_are_drawn_with_all_their_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    class Rooms(Pictures):
        def inputs(self, _: Any) -> NDArray[np.uint8]:
            return self.images().transpose(0, 3, 1, 2)

        def targets(self, task: Any) -> NDArray[Any]:
            shapes = {"image": (4, task.channels, 64, 64), "vector": (4, task.channels)}
            if task.kind in shapes:
                return rng.standard_normal(shapes[task.kind]).astype(np.float32)
            return rng.integers(0, task.channels, (4, 64, 64) if task.kind == "pixel classes" else 4)

    figures.rooms(Rooms(), tmp_path / "rooms.png")
    assert (tmp_path / "rooms.png").read_bytes().startswith(b"\x89PNG")


def test_errors_of_a_score_leave_a_gap() -> None:
    def fails(*_: Any) -> float:
        raise OnnxspaceError("no")

    assert np.isnan(labelled._each({"linear_probe": fails}, np.ones((2, 2)), np.ones(2), "classes")["linear_probe"])


def test_readme_shows_the_tables_numbers() -> None:
    root = REPOSITORY
    assert headline.table(Results(root / "models" / "minitaskonomy")) in (root / "README.md").read_text("utf-8")
