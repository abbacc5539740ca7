"""Readouts of one model's outputs from another's features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.study import (
    prediction,
)
from onnxspace.scores import predictivity
from onnxspace.scores.folds import draw_folds
from onnxspace.scores.pairs.readout import RIDGES, explained_shares
from tests.models.minitaskonomy.helpers import (
    make_zoo,
)


def test_variants_are_ridge_regressions_position_by_position(rng: np.random.Generator) -> None:
    from sklearn.linear_model import Ridge

    features, outputs = rng.standard_normal((10, 3, 8, 8)), rng.standard_normal((10, 2, 16, 16))
    rows, answers = prediction.flatten_grid(features), prediction.average_patches(outputs)
    answers = answers - answers.mean(axis=0)
    shares = []
    for ridge in RIDGES:
        missed = there = 0.0
        for fold in range(4):
            test = np.repeat(draw_folds(10) == fold, 64)
            train = ~test
            centred = rows[train] - rows[train].mean(axis=0)
            fitted = Ridge(alpha=ridge * np.square(centred).sum() / 3).fit(rows[train], answers[train])
            missed += np.square(answers[test] - fitted.predict(rows[test])).sum()
            there += np.square(answers[test] - answers[train].mean(axis=0)).sum()
        shares.append(1 - missed / there)
    assert explained_shares(rows, [answers], 10) == pytest.approx([max(shares)], abs=1e-5)


def test_predictivity_of_a_zoo_is_the_tools_on_the_models_own_features(rng: np.random.Generator) -> None:
    zoo = make_zoo(Path("nowhere"), others=("depth-vit",))
    features = [rng.standard_normal((12, 3, 8, 8)).astype(np.float32) for _ in zoo.entries]
    outputs = [rng.standard_normal((12, 1, 16, 16)).astype(np.float32) for _ in zoo.targets]
    found = prediction.compute_predictivity(zoo, features, outputs, 10)
    assert found.shape == (21, 21)
    assert np.isnan(found[~zoo.main]).all()
    assert found[2, 20] == pytest.approx(predictivity(outputs[2][:10], features[20][:10]), abs=1e-6)


def test_means_of_patches_are_of_their_squares(rng: np.random.Generator) -> None:
    outputs = rng.standard_normal((3, 1, 64, 64)).astype(np.float32)
    means = prediction.average_patches(outputs)
    assert means.shape == (192, 1)
    np.testing.assert_allclose(means[9, 0], outputs[0, 0, 8:16, 8:16].mean(), atol=1e-6)
