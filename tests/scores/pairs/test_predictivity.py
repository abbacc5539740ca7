"""Linear predictivity against a slow twin in loops, what it does not depend on, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores import predictivity
from onnxspace.scores.directed import Comparison, predictivities
from onnxspace.scores.folds import draw_folds
from onnxspace.scores.grids import as_feature_grid, average_pool, extract_patches

Array = NDArray[np.float64]
RIDGES = (1e-4, 1e-2, 1.0)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def related(images: int = 12, channels: int = 5, colours: int = 2, pixels: int = 16) -> tuple[Array, Array]:
    """Outputs [images, colours, pixels, pixels] that hang together with features [images, channels, 8, 8]."""
    features = random(images, channels, 8, 8)
    mixed = np.einsum("ncij,kc->nkij", features, random(colours, channels, seed=1))
    outputs = mixed.repeat(pixels // 8, axis=2).repeat(pixels // 8, axis=3)
    return outputs + random(*outputs.shape, seed=2), features


def slow(outputs: Array, features: Array) -> float:
    """Each position's pixels from its neighbours' features, one linear system per fold and ridge."""
    n, pixels = len(outputs), outputs.shape[2] // 8
    features = features - features.mean(axis=(0, 2, 3), keepdims=True)
    answers, known = [], []
    for image in range(n):
        for i in range(8):
            for j in range(8):
                answers.append(outputs[image, :, i * pixels : (i + 1) * pixels, j * pixels : (j + 1) * pixels].ravel())
                around = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
                near = [features[image, :, a, b] if 0 <= a < 8 and 0 <= b < 8 else 0 * features[0, :, 0, 0] for a, b in around]
                known.append(np.concatenate(near))
    return solved(np.array(answers), np.array(known), n)


def solved(answers: Array, known: Array, images: int) -> float:
    answers = answers - answers.mean(axis=0)
    if answers.shape[1] > 64:
        answers = answers @ np.linalg.svd(answers, full_matrices=False)[2][:64].T
    missed, there = np.zeros(3), 0.0
    for fold in range(4):
        test = np.repeat(draw_folds(images) == fold, len(known) // images)
        train = ~test
        x, y = known[train] - known[train].mean(axis=0), answers[train] - answers[train].mean(axis=0)
        truth = answers[test] - answers[train].mean(axis=0)
        products = x.T @ x
        there += float(np.sum(truth**2))
        for place, ridge in enumerate(RIDGES):
            weights = np.linalg.solve(products + ridge * np.trace(products) / len(products) * np.eye(len(products)), x.T @ y)
            missed[place] += np.sum((truth - (known[test] - known[train].mean(axis=0)) @ weights) ** 2)
    return float(1 - missed.min() / there)


@pytest.mark.parametrize(("images", "channels", "colours", "pixels"), [(12, 5, 2, 16), (7, 3, 1, 8), (6, 60, 2, 64)])
def test_pictures_are_predicted_as_the_slow_twin_does(images: int, channels: int, colours: int, pixels: int) -> None:
    outputs, features = related(images, channels, colours, pixels)
    assert predictivity(outputs, features) == pytest.approx(slow(outputs, features), abs=1e-5)


@pytest.mark.parametrize("images", [9, 40])
def test_answers_without_positions_come_from_quarters(images: int) -> None:
    features = random(images, 4, 8, 8)
    quarters = features.reshape(images, 4, 2, 4, 2, 4).mean(axis=(3, 5)).reshape(images, -1)
    outputs = quarters[:, :3] + 0.3 * random(images, 3, seed=3)
    assert predictivity(outputs, features) == pytest.approx(solved(outputs, quarters, images), abs=1e-5)


def test_features_without_positions_predict_each_position_by_weights_of_its_own() -> None:
    outputs, _ = related(30, pixels=8)
    features = random(30, 6, seed=4)
    rows = outputs.transpose(0, 2, 3, 1).reshape(30 * 64, -1)
    rows = rows - rows.mean(axis=0)
    missed, there = np.zeros(3), 0.0
    for fold in range(4):
        test = draw_folds(30) == fold
        train = ~test
        x = features[train] - features[train].mean(axis=0)
        y = rows.reshape(30, -1)[train]
        truth = rows.reshape(30, -1)[test] - y.mean(axis=0)
        there += float(np.sum(truth**2))
        for place, ridge in enumerate(RIDGES):
            inverse = np.linalg.inv(x.T @ x + ridge * np.trace(x.T @ x) / 6 * np.eye(6))
            told = (features[test] - features[train].mean(axis=0)) @ inverse @ x.T @ (y - y.mean(axis=0))
            missed[place] += np.sum((truth - told) ** 2)
    assert predictivity(outputs, features) == pytest.approx(1 - missed.min() / there, abs=1e-5)


def test_what_a_readout_can_say_is_predicted_and_noise_is_not() -> None:
    features = random(40, 6, 8, 8)
    outputs = np.einsum("ncij,kc->nkij", features, random(3, 6, seed=1))
    assert predictivity(outputs, features) > 0.999
    assert predictivity(outputs, random(40, 6, 8, 8, seed=9)) < 0.01


def test_it_has_a_direction() -> None:
    """Who keeps everything predicts who keeps one channel, and not the other way round."""
    features = random(40, 6, 8, 8)
    assert predictivity(features[:, :1], features) > 0.99 > 0.5 > predictivity(features, features[:, :1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_directions_scales_and_shifts_of_both_are_nothing_to_it(seed: int, scale: float, other: float) -> None:
    outputs, features = related()
    turned = np.einsum("ncij,kc->nkij", features, np.linalg.qr(random(5, 5, seed=seed))[0])
    answers = np.einsum("ncij,kc->nkij", outputs, np.linalg.qr(random(2, 2, seed=seed + 1))[0])
    expected = predictivity(outputs, features)
    assert predictivity(other * (answers + 3), scale * (turned - 1)) == pytest.approx(expected, abs=1e-5)


def test_either_order_of_axes_and_tokens_are_the_same_positions() -> None:
    outputs, features = related(pixels=24)
    expected = predictivity(outputs, features)
    assert predictivity(np.moveaxis(outputs, 1, -1), features) == expected
    assert predictivity(outputs, np.moveaxis(features, 1, -1)) == expected
    tokens = features.reshape(12, 5, 64).transpose(0, 2, 1)
    assert predictivity(outputs, tokens) == expected
    assert predictivity(outputs, np.concatenate([random(12, 1, 5), tokens], axis=1)) == expected


def test_grids_are_means_over_windows_and_repeated_where_they_are_small() -> None:
    values = random(2, 3, 20, 12)
    found = average_pool(values, (8, 8))
    assert found[1, 2, 3, 5] == pytest.approx(values[1, 2, 7:10, 7:9].mean())
    small = average_pool(random(2, 30, 2, 4), (8, 8))
    assert small.shape == (2, 30, 8, 8)
    assert np.array_equal(small[:, :, 0], small[:, :, 3])
    assert extract_patches(random(2, 3, 50, 19)).shape == (128, 3 * 6 * 2)
    assert as_feature_grid(random(2, 300)) is None
    assert as_feature_grid(random(2, 300, 1, 1)) is None


def test_many_channels_are_reduced_to_what_varies_most() -> None:
    """128 directions hold all where no more than that are there."""
    outputs, features = related(10)
    wide = np.einsum("ncij,kc->nkij", features, random(200, 5, seed=5))
    basis = np.linalg.svd(random(200, 5, seed=5), full_matrices=False)[0]
    narrow = np.einsum("ncij,ck->nkij", wide, basis)
    # The mean eigenvalue is that of 128 × 9 columns, most of them empty, so its share is a smaller ridge.
    assert predictivity(outputs, wide) == pytest.approx(predictivity(outputs, narrow), abs=0.02)


def test_all_pairs_are_the_single_ones_and_failures_stop_no_other() -> None:
    outputs, features = related()
    sides = [(outputs, features), (outputs[:, :1], features[:, 1:]), (None, features), (np.ones_like(outputs), None)]
    found = predictivities(sides, Comparison(["a", "b", "c", "d"]))
    for i in range(2):
        for j, (_, source) in enumerate(sides[:3]):
            assert found.matrix[i, j] == pytest.approx(predictivity(sides[i][0], source), abs=1e-6)
    assert np.isnan(found.matrix[2:]).all()
    assert np.isnan(found.matrix[:, 3]).all()
    assert found.why == ("d: The target's outputs are the same for every image, so there is nothing to predict.",)


@pytest.mark.parametrize(
    ("outputs", "features", "words"),
    [
        (random(3, 4), random(3, 4), "needs at least 4 images, not 3"),
        (random(8, 4), random(9, 4), "are of different images"),
        (np.ones((8, 3, 8, 8)), random(8, 4), "the same for every image"),
        (np.full((8, 3), np.nan), random(8, 4), "NaN or infinity"),
        (random(8, 4), np.array([["x"] * 4] * 8), "not real numbers"),
    ],
)
def test_what_can_not_be_predicted_is_refused(outputs: Array, features: Array, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        predictivity(outputs, features)
