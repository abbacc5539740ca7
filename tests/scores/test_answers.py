"""What counts as a classifier's answers, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

from onnxspace.scores.answers import describe_answers, find_classes, find_probabilities, softmax

Array = NDArray[np.float64]


def logits(images: int = 60, classes: int = 5, size: float = 6.0, seed: int = 0) -> Array:
    """A trained classifier's: one class is far ahead for each image."""
    rng = np.random.default_rng(seed)
    return np.eye(classes)[rng.integers(0, classes, images)] * size + rng.standard_normal((images, classes))


def test_the_softmax_is_scipys() -> None:
    for values in (logits(), 1e4 * logits(), np.random.default_rng(1).standard_normal((3, 4, 5, 5))):
        np.testing.assert_allclose(softmax(values), scipy.special.softmax(values, axis=1), rtol=1e-12)


def test_logits_become_probabilities_and_distributions_stay() -> None:
    shares = scipy.special.softmax(logits(), axis=1)
    np.testing.assert_allclose(find_probabilities(logits()), shares)
    np.testing.assert_allclose(find_probabilities(shares), shares, rtol=1e-12)
    np.testing.assert_allclose(find_probabilities(logits()[:, :, None, None]), shares)
    flat = np.full((8, 3), 1 / 3) + 0.01 * np.eye(3)[np.arange(8) % 3] - 0.01 / 3
    np.testing.assert_allclose(find_probabilities(flat), flat)


def test_probabilities_in_eight_bits_are_scaled() -> None:
    shares = scipy.special.softmax(logits(), axis=1)
    found = find_probabilities(np.round(256 * shares).clip(0, 255).astype(np.float32))
    assert found is not None
    np.testing.assert_allclose(found, shares, atol=0.01)


@pytest.mark.parametrize(
    "outputs",
    [
        np.random.default_rng(0).random((60, 9)),  # coordinates
        np.random.default_rng(0).standard_normal((60, 1)),  # one number
        np.random.default_rng(0).standard_normal((60, 128)) / 12,  # an embedding of unit length
        np.random.default_rng(0).standard_normal((20, 3, 16, 16)),  # a picture
        np.random.default_rng(0).standard_normal((20, 7, 6)),  # tokens
    ],
)
def test_other_numbers_are_no_classes(outputs: Array) -> None:
    assert find_probabilities(outputs) is None
    assert find_classes(outputs) is None


def test_masks_have_probabilities_and_no_class_for_the_image() -> None:
    rng = np.random.default_rng(0)
    masks = 8 * np.eye(3)[rng.integers(0, 3, (6, 10, 10))] + rng.standard_normal((6, 10, 10, 3))
    for values in (masks, np.moveaxis(masks, -1, 1)):
        found = find_probabilities(values)
        assert found is not None
        np.testing.assert_allclose(found, scipy.special.softmax(np.moveaxis(masks, -1, 1), axis=1))
        assert find_classes(values) is None


def test_the_class_is_that_of_the_largest_output() -> None:
    found = find_classes(logits())
    assert found is not None
    assert found.tolist() == logits().argmax(axis=1).tolist()


def test_what_is_wrong_with_answers() -> None:
    assert describe_answers(logits()) == ()
    assert describe_answers(np.ones((5, 3, 8, 8))) == ("Its outputs are the same for every picture.",)
    assert "one and the same answer for 100 %" in describe_answers(logits() + 40 * np.eye(5)[0])[0]
    assert "close to chance: a mean confidence of 0.2" in describe_answers(0.02 * logits())[0]
    assert describe_answers(np.random.default_rng(0).random((60, 2))) == ()
