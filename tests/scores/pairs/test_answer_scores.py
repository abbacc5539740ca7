"""Scores by a target's answers: against scikit-learn's neighbours, loops, and each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from onnxspace.errors import ConfigError
from onnxspace.scores import dds, knn_agreement, mean_rank, predictivity, probability_predictivity
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.folds import assign_folds, draw_folds, hash_images, order_by_content
from onnxspace.scores.matrices import Compared, compute_score_matrix
from onnxspace.scores.neighbours import find_neighbours, vote
from onnxspace.scores.pairs.knn_agreement import Answers, FeatureNeighbours
from onnxspace.scores.registry import find_spec

Array = NDArray[np.float64]
BY = ("mean_rank", "knn_agreement", "probability_predictivity", "predictivity")


def classified(images: int = 60, classes: int = 4, noise: float = 1.5, seed: int = 0) -> tuple[Array, Array]:
    """Logits [images, classes], and features [images, 6] that hang together with them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    logits = 6 * np.eye(classes)[labels] + rng.standard_normal((images, classes))
    return logits, rng.standard_normal((classes, 6))[labels] + noise * rng.standard_normal((images, 6))


def test_agreement_is_that_of_scikit_learns_neighbours() -> None:
    outputs, features = classified()
    folds, answers = draw_folds(60), outputs.argmax(axis=1)
    near = find_neighbours(features, folds)
    for fold in range(4):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        model = KNeighborsClassifier(5).fit(features[train], answers[train])
        np.testing.assert_array_equal(np.sort(near[test]), np.sort(train[model.kneighbors(features[test])[1]]))
    right = 0
    for image in range(60):
        counts = np.bincount(answers[near[image]])
        tied = [each for each in answers[near[image]] if counts[each] == counts.max()]
        right += tied[0] == answers[image]
    assert knn_agreement(outputs, features) == pytest.approx(right / 60)
    assert 0.3 < right / 60 < 1


def test_numbers_are_predicted_by_the_mean_of_neighbours() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((50, 3))
    outputs = features[:, :2] + 0.1 * rng.standard_normal((50, 2))
    folds, missed, there = draw_folds(50), 0.0, 0.0
    for fold in range(4):
        train, test = folds != fold, folds == fold
        fitted = KNeighborsRegressor(5).fit(features[train], outputs[train])
        missed += np.square(outputs[test] - fitted.predict(features[test])).sum()
        there += np.square(outputs[test] - outputs[train].mean(axis=0)).sum()
    assert knn_agreement(outputs, features) == pytest.approx(1 - missed / there)


def test_positions_of_features_are_averaged() -> None:
    outputs, _ = classified(30)
    features = np.random.default_rng(2).standard_normal((30, 4, 3, 3))
    assert knn_agreement(outputs, features) == knn_agreement(outputs, features.mean(axis=(2, 3)))


def test_the_nearest_of_equally_frequent_classes_wins() -> None:
    assert vote(np.array([[7, 2, 2, 7, 1], [4, 3, 2, 1, 0]])).tolist() == [7, 4]


def test_probabilities_are_predicted_as_numbers_are() -> None:
    outputs, features = classified()
    shares = scipy.special.softmax(outputs, axis=1)
    assert probability_predictivity(outputs, features) == pytest.approx(predictivity(shares, features))
    assert probability_predictivity(outputs, features) != pytest.approx(predictivity(outputs, features), abs=1e-3)
    coordinates = scipy.special.expit(features)
    assert probability_predictivity(coordinates, features) == predictivity(coordinates, features)


def test_chance_is_the_most_frequent_answer() -> None:
    outputs = np.repeat(8 * np.eye(3), [10, 20, 10], axis=0)
    assert Answers.of(outputs).chance == 0.5
    noise = np.random.default_rng(0).standard_normal((40, 6))
    assert knn_agreement(outputs, noise) < 0.7
    assert Answers.of(noise).chance == 0


def test_mean_ranks_are_of_both_scores() -> None:
    outputs, _ = classified()
    sources = [classified(noise=noise)[1] for noise in (0.5, 3.0, 1.0, 9.0)]
    ranks = [
        scipy.stats.rankdata([-score(outputs, one) for one in sources]) for score in (knn_agreement, probability_predictivity)
    ]
    np.testing.assert_allclose(mean_rank(outputs, sources), 1 - (np.mean(ranks, axis=0) - 1) / 3)
    assert mean_rank(outputs, sources[:1]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("outputs", "features", "words"),
    [
        (8 * np.eye(3)[[0] * 20], np.ones((20, 2)), "the same for every image"),
        (8 * np.eye(3)[[0, 1] * 10], np.ones((21, 2)), "of different images"),
        (8 * np.eye(3)[[0, 1] * 3], np.eye(6), "need 5 different images in other folds, and there are 4"),
    ],
)
def test_what_has_no_agreement_is_refused(outputs: Array, features: Array, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        knn_agreement(outputs, features)


def saved(folder: Path, sides: list[tuple[Array, Array]], order: NDArray[np.intp]) -> list[Arrays]:
    models = []
    for k, (outputs, features) in enumerate(sides):
        for kind, values in (("outputs", outputs), ("features", features)):
            np.save(folder / f"{k}-{kind}.npy", values[order].astype(np.float32))
        models.append(Arrays(features=folder / f"{k}-features.npy", outputs=folder / f"{k}-outputs.npy"))
    return models


@pytest.mark.parametrize("name", BY)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_images_is_nothing_to_a_matrix(tmp_path_factory: pytest.TempPathFactory, name: str, seed: int) -> None:
    """In particular an order by class."""
    outputs, _ = classified()
    sides = [classified(noise=noise, seed=k) for k, noise in enumerate((0.5, 2.0, 4.0))]
    images = np.random.default_rng(9).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    found = []
    for order in (np.argsort(outputs.argmax(axis=1)), np.random.default_rng(seed).permutation(60)):
        models = saved(tmp_path_factory.mktemp("arrays"), sides, order)
        compared = Compared("abc", models, resampled=range(3), order=order_by_content(hash_images(images[order])))
        found.append(compute_score_matrix(find_spec(name), compared))
    np.testing.assert_allclose(found[1].matrix, found[0].matrix, atol=1e-6)
    means = [
        [one.shares[i].means(lambda values: values.mean(axis=0)[None], np.arange(3)) for i in range(3)]
        for one in found
        if one.shares
    ]
    np.testing.assert_allclose(means[1], means[0], atol=1e-6)
    for i in range(3):
        others = [j for j in range(3) if j != i]
        np.testing.assert_allclose(np.ravel(means[0][i])[others], found[0].matrix[i, others], atol=1e-4)


def test_many_images_are_sampled_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.scores.matrices.MOST_PREDICTED", 24)
    images = np.random.default_rng(9).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    ranks = order_by_content(hash_images(images))
    sides = [classified(seed=k) for k in range(2)]
    found = compute_score_matrix(find_spec("knn_agreement"), Compared("ab", saved(tmp_path, sides, np.arange(60)), order=ranks))
    rows = np.argsort(ranks)[:24]
    features = FeatureNeighbours(sides[1][1][rows].astype(np.float32), assign_folds(np.arange(24), 4))
    assert found.matrix[0, 1] == features.sums_of_squares([Answers.of(sides[0][0][rows])])[0].share


def test_a_matrix_of_similarities_is_that_of_the_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    sides = [(rng.random((30, 3)), rng.standard_normal((30, *shape))) for shape in ((7,), (40,), (3, 4, 4))]
    found = compute_score_matrix(find_spec("dds"), Compared("abc", saved(tmp_path, sides, np.arange(30)))).matrix
    for i in range(3):
        for j in range(3):
            expected = dds(sides[i][1].astype(np.float32), sides[j][1].astype(np.float32))
            assert found[i, j] == pytest.approx(expected, abs=1e-9)
