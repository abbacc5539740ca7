"""Labelled scores against slow twins, and what must not change them: the order of images, names of classes, a rotation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from onnxspace import scores
from onnxspace.scores.labelled.h_score import ledoit_wolf_shrinkage
from onnxspace.scores.labelled.knn import hold_out_neighbours
from onnxspace.scores.labelled.linear_probe import RIDGES, hold_out_probe
from onnxspace.scores.labelled.logme import log_evidence
from onnxspace.scores.labelled.sfda import _solve_ridge, shrinkage_of
from tests.oracles import transfer as slow

Array = NDArray[np.float64]
Score = Callable[..., float]

#: Images, dimensions, classes: many images, fewer images than dimensions, one dimension, features of lower rank than width.
SHAPES = [(90, 7, 3), (24, 60, 4), (50, 1, 2), (200, 130, 5)]
FEATURES: dict[str, Score] = {
    name: getattr(scores, name)
    for name in ("sfda", "logme", "nleep", "h_score", "transrate", "gbc", "lfc", "parc", "knn", "linear_probe")
}


def data(images: int, width: int, classes: int, seed: int = 0, rank: int | None = None) -> tuple[Array, NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes).repeat(2), rng.integers(0, classes, images - 2 * classes)])
    features = rng.standard_normal((classes, width))[labels] * 0.6 + rng.standard_normal((images, width)) + 0.3
    return (features if rank is None else features @ _low(width, rank, rng)), labels


def _low(width: int, rank: int, rng: np.random.Generator) -> Array:
    left = np.linalg.qr(rng.standard_normal((width, rank)))[0]
    return left @ left.T


def applicable(name: str, width: int) -> bool:
    return name != "parc" or width > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_sfda_is_the_papers_eigenproblem(shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape)
    features *= 0.5  # so that the shrinkage is not at its floor
    ready = scores.prepare(features, labels)
    assert shrinkage_of(ready) == pytest.approx(slow.sfda_shrinkage(features, labels), rel=1e-9)
    assert scores.sfda(ready) == pytest.approx(slow.sfda(features, labels), rel=1e-7)


def test_sfda_of_features_of_low_rank() -> None:
    features, labels = data(80, 30, 3, rank=9)
    features *= 0.5
    assert scores.sfda(features, labels) == pytest.approx(slow.sfda(features, labels), rel=1e-6)


def test_a_scatter_that_rounding_made_indefinite_is_solved() -> None:
    """A ridge far below the rounding of the largest eigenvalue, where a Cholesky factor does not exist."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    scatter = (turn * np.r_[1e9, np.zeros(39)]) @ turn.T
    scatter = (scatter + scatter.T) / 2
    right = rng.standard_normal((40, 2))
    found = _solve_ridge(scatter.copy(), 1e-9, right)
    assert np.isfinite(found).all()
    first = turn[:, :1]
    away = right - first @ (first.T @ right)
    np.testing.assert_allclose(np.linalg.norm(found * 1e-9, axis=0), np.linalg.norm(away, axis=0), rtol=1e-3)


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("shape", [(90, 7, 3), (24, 60, 4), (200, 130, 5)])
def test_logme_is_the_density_of_the_labels(shape: tuple[int, int, int], rank: int | None) -> None:
    """With the directions beyond the rank counted: the determinant is taken of the labels' covariance [images, images]."""
    features, labels = data(*shape, rank=rank)
    for c, found in enumerate(log_evidence(scores.prepare(features, labels))):
        assert found == pytest.approx(slow.logme_column(features, (labels == c).astype(float))[0], abs=1e-7)


@pytest.mark.parametrize("unit", [1e-3, 100.0, 2.0**70])
@pytest.mark.parametrize("signal", [0.0, 0.6])
@pytest.mark.parametrize("shape", [(90, 7, 3), (24, 60, 4), (200, 130, 5), (300, 64, 10)])
def test_logme_does_not_depend_on_the_unit_of_the_features(shape: tuple[int, int, int], signal: float, unit: float) -> None:
    features, labels = data(*shape)
    features = features if signal else np.random.default_rng(1).standard_normal(features.shape)
    assert scores.logme(features * unit, labels) == pytest.approx(scores.logme(features, labels), abs=1e-6, rel=0)


def test_logme_is_the_largest_evidence_of_any_alpha_and_beta() -> None:
    """Labels without signal have none beside that of noise alone; others have it inside the range."""
    features, labels = data(60, 5, 3)
    column = (labels == 1).astype(float)
    found = scores.logme(features, np.c_[column, column], "regression")
    variances = 10.0 ** np.linspace(-4, 2, 61)
    values = [
        multivariate_normal(cov=noise * np.eye(60) + weight * features @ features.T).logpdf(column) / 60
        for noise in variances
        for weight in variances
    ]
    assert max(values) <= found <= max(values) + 0.01


def test_logme_of_regression_and_of_many_labels() -> None:
    features, _ = data(60, 5, 3)
    rng = np.random.default_rng(1)
    targets = features[:, :2] @ rng.standard_normal((2, 2)) + rng.standard_normal((60, 2))
    several = (targets > 0).astype(int)
    for labels in (targets, several):
        expected = np.mean([slow.logme_column(features, column)[0] for column in labels.T.astype(float)])
        assert scores.logme(features, labels) == pytest.approx(expected, rel=1e-9)
    assert scores.logme(features, targets[:, 0]) == pytest.approx(slow.logme_column(features, targets[:, 0])[0], rel=1e-9)
    as_classes = scores.logme(features, several[:, 0].astype(float), kind="classes")
    assert as_classes == pytest.approx(scores.logme(features, several[:, 0]), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_logme_of_a_large_mean_is_that_of_an_svd(scale: float) -> None:
    """The Gram matrix squares the ratio of the mean to the spread; what is lost stays below 1e-6."""
    features, labels = data(90, 7, 3)
    features = scale * (features + 100)
    expected = np.mean([slow.logme_column(features, (labels == c).astype(float))[0] for c in range(3)])
    assert scores.logme(features, labels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_h_score_and_its_shrinkage(shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape)
    ready = scores.prepare(features, labels)
    shrinkage = LedoitWolf().fit(features).shrinkage_
    assert ledoit_wolf_shrinkage(ready) == pytest.approx(shrinkage, rel=1e-9, abs=1e-12)
    if shape[1] > 1:
        assert scores.h_score(ready) == pytest.approx(slow.h_score(features, labels, shrinkage), rel=1e-9)
    if shape[0] > shape[1]:
        assert scores.h_score(ready, regularised=False) == pytest.approx(slow.h_score(features, labels), rel=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_transrate_lfc_gbc_parc_and_knn(shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape)
    ready = scores.prepare(features, labels)
    assert scores.transrate(ready) == pytest.approx(slow.transrate(features, labels), rel=1e-9)
    assert scores.lfc(ready) == pytest.approx(slow.lfc(features, labels), rel=1e-9)
    assert scores.gbc(ready, components=shape[1]) == pytest.approx(slow.gbc(features, labels), rel=1e-9)
    for neighbours in (1, 4, 5):
        assert scores.knn(ready, None, neighbours) == slow.knn(features, labels, neighbours)
    if shape[1] > 1:
        assert scores.parc(ready) == pytest.approx(slow.parc(features, labels), rel=1e-9)
        assert scores.knn(ready, None, 3, "cosine") == slow.knn(features, labels, 3, cosine=True)


def test_gbc_of_all_kinds_agrees_in_one_dimension_and_cuts_to_components() -> None:
    features, labels = data(50, 1, 2)
    values = [scores.gbc(features, labels, kind) for kind in ("spherical", "diagonal", "full")]  # type: ignore[arg-type]
    assert values == pytest.approx([values[0]] * 3, rel=1e-12)
    wide, labels = data(120, 80, 3)
    centred = wide - wide.mean(axis=0)
    first = centred @ np.linalg.svd(centred)[2][:64].T
    assert scores.gbc(wide, labels) == pytest.approx(slow.gbc(first, labels), rel=1e-9)


def test_parc_of_many_ties_is_that_of_mean_ranks() -> None:
    """Features of two values have few different correlations, and copies of images have one."""
    features = np.random.default_rng(3).integers(0, 2, (40, 4)).astype(float)
    labels = np.arange(40) % 3
    assert scores.parc(features, labels) == pytest.approx(slow.parc(features, labels), rel=1e-9)


@pytest.mark.parametrize("shape", [(40, 6, 3), (24, 60, 3), (200, 130, 5), (50, 1, 2)])
def test_the_probe_is_refitted_without_each_fold(shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape)
    columns = np.eye(shape[2])[labels]
    ready = scores.prepare(features, labels)
    best, _ = slow.linear_probe(features, columns, ready.restore_order(ready.folds), RIDGES)
    right = best.argmax(axis=1) == labels
    np.testing.assert_array_equal(hold_out_probe(ready).values, right)
    assert scores.linear_probe(features, labels) == right.mean()
    for targets in (columns, features[:, :1] + np.random.default_rng(2).standard_normal((shape[0], 2))):
        ready = scores.prepare(features, targets)
        best, plain = slow.linear_probe(features, targets, ready.folds, RIDGES)
        expected = 1 - (np.square(targets - best).sum(axis=0) / np.square(targets - plain).sum(axis=0)).mean()
        assert scores.linear_probe(features, targets) == pytest.approx(expected, rel=1e-6)
        assert hold_out_probe(ready).constant.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("width", [16, 64, 400])
def test_without_signal_a_probe_is_at_chance_and_not_below(width: int) -> None:
    """Ten balanced classes; leaving out single images gave .03 here. The standard error of the mean is below .006."""
    labels = np.arange(300) % 10
    values = [scores.linear_probe(np.random.default_rng(seed).standard_normal((300, width)), labels) for seed in range(15)]
    assert np.mean(values) == pytest.approx(0.1, abs=0.017)


def test_chance_is_what_labels_in_random_order_give() -> None:
    """Of unequal classes: the mean over shuffled labels, whose standard error is below .01."""
    rng = np.random.default_rng(0)
    labels, features = np.arange(120) % 10 // 4, rng.standard_normal((120, 8))
    for judge in (hold_out_probe, hold_out_neighbours):
        shuffled = [judge(scores.prepare(features, rng.permutation(labels))) for _ in range(60)]
        assert np.mean([one.chance for one in shuffled]) == pytest.approx(np.mean([one.mean for one in shuffled]), abs=0.025)
        assert shuffled[0].constant.mean() == 0.4


def test_identical_images_are_held_out_together() -> None:
    """Thirty images of noise, each there twice: who finds the copy knows the label."""
    rng = np.random.default_rng(0)
    features, labels = np.tile(rng.standard_normal((60, 20)), (2, 1)), np.tile(rng.permutation(60) % 10, 2)
    blind, aware = scores.prepare(features, labels), scores.prepare(features, labels, content=np.tile(np.arange(60), 2))
    assert scores.knn(blind, neighbours=1) == 1
    assert scores.linear_probe(blind) > 0.3
    assert scores.knn(aware, neighbours=1) < 0.25
    assert scores.linear_probe(aware) < 0.25


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(SHAPES))
def test_with_their_content_the_order_of_images_does_not_matter_to_the_probe(seed: int, shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape, seed)
    order, content = np.random.default_rng(seed).permutation(shape[0]), np.random.default_rng(seed + 1).permutation(shape[0])
    ready, other = (
        scores.prepare(features, labels, content=content),
        scores.prepare(features[order], labels[order], content=content[order]),
    )
    np.testing.assert_array_equal(hold_out_probe(other).values, hold_out_probe(ready).values[order])


def test_leep_and_nce_are_double_loops() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 40)
    chances = rng.dirichlet(np.ones(6), 40)
    chances[:, 4] = 0  # a source class that no image has
    chances /= chances.sum(axis=1, keepdims=True)
    assert scores.leep(chances, labels) == pytest.approx(slow.leep(chances, labels), rel=1e-12)
    assert scores.leep(chances.astype(np.float16), labels) == pytest.approx(slow.leep(chances, labels), abs=1e-3)
    source = np.array(list("abcdef"))[chances.argmax(axis=1)]
    assert scores.nce(source, labels) == pytest.approx(slow.nce(source, labels), rel=1e-12)
    assert scores.nce(labels, labels) == 0


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(SHAPES))
def test_the_order_of_images_does_not_matter(seed: int, shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape, seed)
    order = np.random.default_rng(seed).permutation(shape[0])
    for name, score in FEATURES.items():
        # NLEEP's mixture starts from random images, and folds of images whose content is not given follow positions
        if applicable(name, shape[1]) and name not in ("nleep", "linear_probe"):
            assert score(features[order], labels[order]) == pytest.approx(score(features, labels), rel=1e-7), name


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(SHAPES))
def test_the_names_of_classes_do_not_matter(seed: int, shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape, seed)
    names = np.random.default_rng(seed).permutation([f"class {c}" for c in range(shape[2])])
    for name, score in FEATURES.items():
        if applicable(name, shape[1]) and name != "nleep":
            assert score(features, names[labels].tolist()) == pytest.approx(score(features, labels), rel=1e-7), name


@settings(max_examples=12, deadline=None)
@example(seed=1888, shape=(24, 60, 4))  # labels without noise are the likeliest
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(90, 7, 3), (24, 60, 4)]))
def test_a_rotation_does_not_matter(seed: int, shape: tuple[int, int, int]) -> None:
    """PARC standardises each dimension; SFDA's power iteration starts from row sums, so its shrinkage is given time."""
    features, labels = data(*shape, seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((shape[1], shape[1])))[0]
    for name in ("logme", "h_score", "transrate", "gbc", "lfc", "knn", "linear_probe"):
        assert FEATURES[name](features @ turn, labels) == pytest.approx(FEATURES[name](features, labels), rel=1e-7), name
    large = 10 * features  # the shrinkage is at its floor, whatever the iteration says
    assert scores.sfda(large @ turn, labels) == pytest.approx(scores.sfda(large, labels), rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_prepared_features_give_the_same_and_narrow_ones_nearly(shape: tuple[int, int, int]) -> None:
    features, labels = data(*shape)
    ready = scores.prepare(features, labels)
    for name, score in FEATURES.items():
        if applicable(name, shape[1]):
            assert score(ready) == score(features, labels), name
            if name != "nleep":
                assert score(features.astype(np.float32), labels) == pytest.approx(score(features, labels), rel=1e-4), name


def test_memory_mapped_features_are_read_and_left_alone(tmp_path: Path) -> None:
    features, labels = data(90, 7, 3)
    np.save(tmp_path / "features.npy", features.astype(np.float16))
    before = (tmp_path / "features.npy").read_bytes()
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    for name, score in FEATURES.items():
        assert score(mapped, labels) == score(features.astype(np.float16), labels), name
    assert (tmp_path / "features.npy").read_bytes() == before


def test_more_signal_scores_higher() -> None:
    """The least that a score must do: features that tell the classes apart better are better."""
    rng = np.random.default_rng(2)
    labels = np.arange(150) % 3
    centres, noise = rng.standard_normal((3, 6)), rng.standard_normal((150, 6))
    weak, strong = (share * centres[labels] + np.sqrt(1 - share**2) * noise for share in (0.2, 0.8))
    for name, score in FEATURES.items():
        assert score(strong, labels) > score(weak, labels), name


def test_an_ensemble_starts_with_the_best_gains_from_a_different_one_and_not_from_a_copy() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(120) % 4
    one = rng.standard_normal((120, 5)) + 2.0 * np.eye(4)[labels][:, [0, 0, 1, 1, 1]]
    other = rng.standard_normal((120, 5)) + 2.0 * np.eye(4)[labels][:, [2, 2, 3, 3, 3]]
    alone = [scores.sfda(features, labels) for features in (one, other)]
    found = scores.sfda_ensemble([one, one.copy(), other], labels, 3)
    assert found.scores[0] == pytest.approx(max(alone), rel=1e-12)
    assert set(found.members[:2]) in ({0, 2}, {1, 2})
    assert found.score == found.scores[-1] > max(alone)
    copies = scores.sfda_ensemble([one, one.copy()], labels, 2)
    assert copies.members == (0,)
    ready = [scores.prepare(features, labels) for features in (one, other)]
    assert scores.sfda_ensemble(ready, None, 1).score == pytest.approx(max(alone), rel=1e-12)


def test_nleep_is_leep_of_the_mixtures_responsibilities() -> None:
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    features, labels = data(90, 7, 3)
    labels = np.sort(labels)
    rows = PCA(0.8).fit_transform(features)
    mixture = GaussianMixture(15, covariance_type="diag", random_state=0).fit(rows)
    # The signs of principal components are free, and k-means may break a tie by them.
    assert scores.nleep(features, labels) == pytest.approx(slow.leep(mixture.predict_proba(rows), labels), rel=0.02)
