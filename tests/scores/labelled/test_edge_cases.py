"""Labels and features as they come: missing, of one class, one image each, constant, few. A right number, or a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnxspace import scores
from onnxspace.errors import ConfigError
from onnxspace.scores.labelled.leep import leep_of_classes
from onnxspace.scores.labels import read_labels
from onnxspace.scores.registry import SCORES
from tests.oracles import transfer as slow

RNG = np.random.default_rng(0)
F = RNG.standard_normal((30, 4))
Y = np.arange(30) % 3
FEATURES: dict[str, Callable[..., float]] = {name: getattr(scores, name) for name, s in SCORES.items() if s.needs == "features"}


def test_every_labelled_score_of_features_is_tested_here() -> None:
    assert len(FEATURES) == 10


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize("mark", ["none", "nan", "masked", "words"])
def test_images_without_a_label_are_left_out(name: str, mark: str) -> None:
    given: Any = {
        "none": [None if n in (3, 7) else int(y) for n, y in enumerate(Y)],
        "nan": np.where(np.isin(np.arange(30), (3, 7)), np.nan, Y.astype(object)),
        "masked": np.ma.masked_array(Y, np.isin(np.arange(30), (3, 7))),
        "words": [None if n in (3, 7) else "abc"[y] for n, y in enumerate(Y)],
    }[mark]
    rest = np.delete(np.arange(30), (3, 7))
    features = F.copy()
    assert FEATURES[name](features, given) == FEATURES[name](F[rest], Y[rest])


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (F, np.zeros(30, int), "two"),
        (F, ["a"] * 30, "two"),
        (F, [None] * 30, "missing"),
        (F, Y[:-1], "30 images and labels of 29"),
        (np.ones((30, 4)) * 0.1, Y, "same for every image"),
        (np.where(F[2, 2] == F, np.nan, F), Y, "NaN or infinity"),
        (F.astype(str), Y, "real numbers"),
        (F[:, 0], Y, "images, dimensions"),
        (F, np.zeros((30, 2, 2)), "shape"),
        (F, ["a", 1] * 15, "mix|two|not numbers|one way"),
        (F, None, "needs labels"),
    ],
)
def test_bad_input_gets_a_sentence(name: str, features: Any, labels: Any, words: str) -> None:
    if labels == ["a", 1] * 15 if isinstance(labels, list) else False:
        labels = np.array(labels, dtype=object)
    with pytest.raises(ConfigError, match=words):
        FEATURES[name](features, labels)


#: One image of each class: what cannot be said is refused, by these words; all others give a finite number.
ALONE = {
    "sfda": "Every class has one image",
    "gbc": "two images of each class",
    "parc": "class with two images",
    "nleep": "more images or",
}


@pytest.mark.parametrize("name", list(FEATURES))
def test_one_image_of_each_class(name: str) -> None:
    if name in ALONE:
        with pytest.raises(ConfigError, match=ALONE[name]):
            FEATURES[name](F, np.arange(30))
    else:
        assert math.isfinite(FEATURES[name](F, np.arange(30)))
    if name in ("knn", "linear_probe"):
        assert FEATURES[name](F, np.arange(30)) == 0  # an image of its own class is never right when left out


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in ("gbc", "nleep")])
def test_one_class_of_one_image(name: str) -> None:
    assert math.isfinite(FEATURES[name](F, np.r_[Y[:-1], 9]))


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize("images", [16, 30])
def test_fewer_images_than_dimensions(name: str, images: int) -> None:
    wide = np.random.default_rng(1).standard_normal((images, 500))
    found = FEATURES[name](wide, np.arange(images) % 3)
    assert math.isfinite(found)
    if name == "h_score":
        with pytest.raises(ConfigError, match="same for all features"):
            scores.h_score(wide, np.arange(images) % 3, regularised=False)


@pytest.mark.parametrize("name", list(FEATURES))
def test_one_dimension(name: str) -> None:
    if name == "parc":
        with pytest.raises(ConfigError, match="two dimensions"):
            scores.parc(F[:, :1], Y)
    else:
        assert math.isfinite(FEATURES[name](F[:, :1], Y))


@pytest.mark.parametrize("name", list(FEATURES))
def test_a_constant_dimension_changes_nothing_but_logme_and_lfc(name: str) -> None:
    """Those two do not centre. The width counts for TransRate's and SFDA's traces only through what varies."""
    wider = np.hstack([F, np.full((30, 1), 0.7)])
    found = FEATURES[name](wider, Y)
    assert math.isfinite(found)
    if name in ("knn", "nleep", "transrate"):
        assert found == pytest.approx(FEATURES[name](F, Y), rel=1e-9)


@pytest.mark.parametrize("name", list(FEATURES))
def test_images_that_are_copies_of_one_another(name: str) -> None:
    """Each class is one image, many times: no scatter within classes."""
    copies = F[:3][Y]
    if name == "sfda":
        with pytest.raises(ConfigError, match="no scatter"):
            scores.sfda(copies, Y)
    else:
        found = FEATURES[name](copies, Y)
        assert math.isfinite(found)
        best = {"gbc": 0, "knn": 1, "parc": slow.parc(copies, Y), "linear_probe": 1}
        if name in best:
            assert found == pytest.approx(best[name], abs=1e-9)


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_any_scale_gives_a_number(name: str, scale: float) -> None:
    assert math.isfinite(FEATURES[name](F * scale, Y))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (Y, "classes"),
        (Y > 1, "classes"),
        ([-1, 1] * 15, "classes"),
        (np.array(list("abc"))[Y], "classes"),
        (np.eye(3, dtype=int)[Y], "multilabel"),
        (np.eye(3)[Y], "multilabel"),
        (F[:, 0], "regression"),
        (F[:, :2], "regression"),
        ([1.5, None, 2.5] * 10, "regression"),
        ([True, None, False] * 10, "classes"),
    ],
)
def test_labels_say_what_they_are(labels: Any, kind: str) -> None:
    found = read_labels(labels)
    assert found.kind == kind
    assert found.columns.shape[0] == found.kept.sum()


def test_whole_floats_are_classes_where_a_score_takes_nothing_else() -> None:
    assert scores.sfda(F, Y.astype(float)) == scores.sfda(F, Y)
    assert scores.sfda(F, np.where(np.arange(30) == 4, np.nan, Y)) == scores.sfda(np.delete(F, 4, 0), np.delete(Y, 4))
    with pytest.raises(ConfigError, match="regression"):
        scores.sfda(F, F[:, 0])
    with pytest.raises(ConfigError, match="one class per image"):
        scores.sfda(F, np.eye(3)[Y])
    with pytest.raises(ConfigError, match="one class per image"):
        scores.sfda(scores.prepare(F, F[:, 0]))


@pytest.mark.parametrize("images", [2, 3, 6, 30])
def test_the_h_score_stays_in_its_range(images: int) -> None:
    """Each image a class of its own, far apart: two images gave up to 2, beyond their range of 1."""
    for width in (1, 3, 100):
        features = 1e3 * np.random.default_rng(width).standard_normal((images, width))
        assert 0 <= scores.h_score(features, np.arange(images)) <= images - 1


def test_targets_that_never_vary_are_left_out() -> None:
    targets = np.c_[F[:, 0], np.ones(30)]
    for score in (scores.logme, scores.linear_probe):
        assert score(F[:, 1:], targets) == score(F[:, 1:], F[:, 0])
        with pytest.raises(ConfigError, match="same label"):
            score(F, np.ones(30))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scores.leep(F, Y), "softmax"),
        (lambda: scores.leep(np.full((30, 4), 0.25), Y[:9]), "9"),
        (lambda: scores.leep(np.full((30, 4), np.nan), Y), "NaN"),
        (lambda: scores.nce(Y[:9], Y), "both must be"),
        (lambda: scores.nce([None, *Y[1:]], Y), "source label is missing"),
        (lambda: scores.knn(F, Y, 30), "neighbours is 30"),
        (lambda: scores.knn(F, Y, 0), "neighbours"),
        (lambda: scores.knn(F, Y, 1, "manhattan"), "metric"),
        (lambda: scores.gbc(F, Y, "round"), "covariance"),
        (lambda: scores.parc(F, Y, "any"), "ties"),
        (lambda: scores.transrate(F, Y, 0), "above 0"),
        (lambda: scores.nleep(F, Y, 0), "share of variance"),
        (lambda: scores.nleep(F, Y, per_class=11), "33 components"),
        (lambda: scores.sfda_ensemble([], Y), "at least 1"),
        (lambda: scores.sfda_ensemble([F], Y, 0), "at least 1"),
        (lambda: scores.sfda(scores.prepare(F, Y), Y), "no others"),
        (lambda: scores.logme(F, Y * 0.5, "multilabel"), "0 and 1"),
        (lambda: scores.logme(F, np.where(Y == 1, np.inf, 0.5)), "infinity"),
    ],
)
def test_options_that_make_no_sense_are_refused(call: Callable[[], float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()


def test_constant_probabilities_say_nothing() -> None:
    shares = np.bincount(Y) / 30
    nothing = float(shares @ np.log(shares))
    assert scores.leep(np.full((30, 4), 0.25), Y) == pytest.approx(nothing, rel=1e-12)
    assert scores.nce(np.zeros(30, int), Y) == pytest.approx(nothing, rel=1e-12)


def test_maps_of_zeros_have_no_direction() -> None:
    assert scores.attribution(np.zeros((5, 4, 4)), np.ones((5, 4, 4))) == 0
    assert scores.attribution(np.ones((5, 4, 4)), np.ones((5, 4, 4))) == pytest.approx(1)


def test_leep_is_at_most_0_where_rows_sum_to_more_by_rounding() -> None:
    theta = np.array([[1 + 2**-52, 0.0], [0.0, 1 + 2**-52]])
    assert leep_of_classes(theta, np.array([0, 1])) == 0
