"""Searches by use for a target whose answers are pictures: a readout of positions chooses what the full readout ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.scores.folds import FOLDS, assign_folds
from onnxspace.scores.grids import average_pool
from onnxspace.scores.pairs.knn_agreement import FeatureNeighbours
from onnxspace.scores.pairs.readout import RIDGES
from onnxspace.scores.pointwise_readout import predict_pictures
from onnxspace.scores.reduce import ReducedArrays, reduce_arrays, widen_levels
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.workflows import space_ranking
from onnxspace.workflows.space import Space
from tests.helpers.use_spaces import IMAGES, ORDER, fingerprint, insert_models, use_space

SCENES = np.random.default_rng(11).standard_normal((IMAGES, 4, 8, 8))


def features_of(number: int) -> NDArray[np.float32]:
    """Features [images, 6, 8, 8] that mix the scenes at each position, with the more noise the larger `number` is."""
    rng = np.random.default_rng(number)
    mixed = np.einsum("ck,nkhw->nchw", rng.standard_normal((6, 4)), SCENES)
    return (mixed + 0.3 * number * rng.standard_normal(mixed.shape)).astype(np.float32)


def pictures_of(number: int) -> Reduced:
    """A network that draws two channels of the scenes."""
    drawn = np.repeat(np.repeat(SCENES[:, :2], 2, axis=2), 2, axis=3).astype(np.float32)
    return reduce_arrays("pictures", ORDER, features_of(number), drawn, {})


def share_of(rows: NDArray[np.float64], answers: NDArray[np.float64], folds: NDArray[np.intp]) -> float:
    """R² of ridge regressions on the other folds, solved one by one, with the best ridge."""
    missed, there = np.zeros(len(RIDGES)), 0.0
    for fold in np.unique(folds):
        own = folds == fold
        mean, target = rows[~own].mean(axis=0), answers[~own].mean(axis=0)
        known = rows[~own] - mean
        truth = answers[own] - target
        there += float(np.square(truth).sum())
        for i, ridge in enumerate(RIDGES):
            raised = known.T @ known
            raised += ridge * np.trace(raised) / len(raised) * np.eye(len(raised))
            weights = np.linalg.solve(raised, known.T @ (answers[~own] - target))
            missed[i] += float(np.square(truth - (rows[own] - mean) @ weights).sum())
    return 1 - missed.min() / there


def test_the_readout_of_positions_is_a_ridge_regression_at_each() -> None:
    target, folds = pictures_of(0), assign_folds(ORDER, FOLDS)
    sources = [pictures_of(number) for number in (1, 3, 6)]
    found = predict_pictures(target, sources)
    outputs = ReducedArrays(target).load("outputs")
    for i, source in enumerate(sources):
        pictures = widen_levels(source, slice(None)).astype(np.float64)
        rows = np.moveaxis(pictures, 1, -1).reshape(-1, pictures.shape[1])
        expected = share_of(rows, outputs.as_target().rows, np.repeat(folds, 64))
        assert found[0, i] == pytest.approx(expected, abs=1e-5)
        means = average_pool(pictures, (1, 1))[:, :, 0, 0]
        agreed = FeatureNeighbours(means, folds).sums_of_squares([outputs.as_answers()])[0].share
        assert found[1, i] == pytest.approx(agreed, abs=1e-12)
    assert found[0, 0] > found[0, 1] > found[0, 2]


def test_a_source_that_can_not_be_compared_has_no_value() -> None:
    others = [None, Reduced("pictures", ORDER), replace(pictures_of(1), order=ORDER[::-1].copy()), pictures_of(1)]
    assert np.isnan(predict_pictures(pictures_of(0), others)).any(axis=0).tolist() == [True, True, True, False]
    assert predict_pictures(pictures_of(0), []).shape == (2, 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tests.helpers.use_spaces.reduced", lambda number: pictures_of(number % 31))
    made = use_space(tmp_path / "zoo.space")
    insert_models(made.path, [*range(1, 31)])
    return made.path


def test_few_sources_of_pictures_are_ranked_exactly_the_best_of_all_among_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, drawing = Space.open(home), replace(fingerprint(1), name="drawing", reduced=pictures_of(0))
    whole = space.sources(drawing)
    assert len(whole.names) == 31
    row = dict(zip(whole.names, whole.scores["probability_predictivity"][-1], strict=True))
    for name, value in {"MOST_RANKED": 12, "CANDIDATES": 12, "WIDE": 20, "PICTURES": 6}.items():
        monkeypatch.setattr(space_ranking, name, value)
    found = space.sources(drawing)
    best = [name for name, _ in whole.rank("drawing").sources]
    assert {*best[:3]} < {*found.names[:-1]} < {*best[:15]}
    for name, value in zip(found.names[:-1], found.scores["probability_predictivity"][-1], strict=False):
        assert value == pytest.approx(row[name], abs=1e-12)
    assert any(one.startswith("Of 30 models, 6 are ranked") for one in found.warnings)
    near = space.nearest(drawing, 100, by="use")
    assert [(one.name, one.value) for one in near] == [
        (name, pytest.approx(value, abs=1e-9)) for name, value in space.compare(drawing).rank("drawing").sources
    ]
    assert len(space.nearest("model-30", 100, by="use")) == 6


def test_a_target_whose_pictures_do_not_vary_is_answered_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_RANKED": 12, "CANDIDATES": 12, "WIDE": 20, "PICTURES": 6}.items():
        monkeypatch.setattr(space_ranking, name, value)
    made = pictures_of(0)
    assert made.answers is not None
    blank = replace(fingerprint(1), name="blank", reduced=replace(made, answers=np.zeros_like(made.answers)))
    found = Space.open(home).sources(blank)
    assert len(found.names) == 21
    assert any("same for every image" in words for notes in found.unscored.values() for words in notes)
