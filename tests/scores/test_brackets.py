"""What images can tell apart: intervals against SciPy's bootstrap, brackets of models whose truth is given."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm

from onnxspace.scores.brackets import assign_brackets, exceeds, find_intervals, resample_means
from onnxspace.scores.held_out import HeldOut
from onnxspace.scores.image_results import ImageResults

Array = NDArray[np.float64]


def draw(accuracies: list[float], images: int = 300, seed: int = 0) -> Array:
    """Right or wrong for each image; harder images are harder for all, so that differences are those of pairs."""
    hard = np.random.default_rng(seed).random(images)
    return np.array([hard < accuracy for accuracy in accuracies], float)


def test_intervals_are_those_of_another_bootstrap() -> None:
    values = draw([0.3, 0.8])
    ends = find_intervals(resample_means(values, 4000)).T
    for row, found in zip(values, ends, strict=True):
        other = bootstrap((row,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
        assert found == pytest.approx([other.low, other.high], abs=0.008)
        assert np.ptp(found) == pytest.approx(2 * norm.ppf(0.975) * row.std() / np.sqrt(300), rel=0.08)


def test_models_are_resampled_together() -> None:
    """Ten images decide between the two, and both intervals overlap by far: only pairs tell."""
    better, worse = draw([0.53, 0.50])
    means = resample_means(np.array([better, worse]))
    assert find_intervals(means)[0, 0] < worse.mean()
    assert assign_brackets(means, [0, 1]) == [1, 2]
    np.testing.assert_array_equal(resample_means(worse[None])[:, 0], means[:, 1])


def test_a_bracket_ends_where_its_first_is_better_by_more_than_the_error() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random((5, 400)) < np.array([0.9, 0.89, 0.6, 0.58, 0.3])[:, None]).astype(float)
    means = resample_means(values)
    assert assign_brackets(means, range(5)) == [1, 1, 2, 2, 3]
    assert assign_brackets(means, [4, 3, 2, 1, 0]) == [1] * 5  # none is worse than the first
    assert assign_brackets(means, []) == []


def test_several_tests_widen_the_interval() -> None:
    """Of many models without any difference, hardly any set has one that exceeds."""
    rng = np.random.default_rng(2)
    sets = [resample_means(rng.standard_normal((20, 100)), 400, seed) for seed in range(40)]
    assert sum(any(exceeds(means)) for means in sets) > 8
    assert sum(any(exceeds(means, 20)) for means in sets) < 4
    assert exceeds(resample_means(rng.standard_normal((1, 100)) + 0.5), 20) == [True]


def results(*rows: Array | None, constant: float = 0.2, chance: float = 0.1) -> ImageResults:
    answers = (np.arange(300) < 300 * constant).astype(float)
    return ImageResults({"knn": tuple(None if row is None else HeldOut(row, answers, chance) for row in rows)})


def test_a_model_is_compared_with_the_constant_answer_and_with_chance() -> None:
    """One image in eight is no better than the most frequent class, which a fifth of the images has, nor surely than chance."""
    rng = np.random.default_rng(3)
    good, weak = (rng.random(300) < 0.5).astype(float), (np.arange(300) * 7 % 300 < 38).astype(float)
    found = results(good, None, weak)
    assert [found.is_above_constant(i) for i in range(3)] == [True, None, False]
    assert found.is_above_chance
    assert found.intervals["knn"][1] is None
    assert (found.chance, found.constant) == ({"knn": 0.1}, {"knn": pytest.approx(0.2)})
    assert not results(weak, weak).is_above_chance
    assert ImageResults().is_above_constant(0) is None
    assert not ImageResults().is_above_chance
    assert ImageResults().average(["knn"]) is None
