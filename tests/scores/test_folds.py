"""Folds of images by their content."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxspace.scores.folds import FOLDS, assign_folds, draw_folds, hash_images, order_by_content


def test_hashes_are_of_the_bytes_of_each_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    assert hash_images(images) == [hashlib.sha256(image.tobytes()).digest() for image in images]
    assert hash_images(images[:, ::-1]) == [hashlib.sha256(image[::-1].tobytes()).digest() for image in images]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(2, 6), st.integers(0, 99))
def test_an_images_fold_depends_on_content_alone(content: list[int], folds: int, seed: int) -> None:
    hashes = [hashlib.sha256(bytes([one])).digest() for one in content]
    found = assign_folds(order_by_content(hashes), folds)
    turned = np.random.default_rng(seed).permutation(len(hashes))
    again = assign_folds(order_by_content([hashes[i] for i in turned]), folds)
    assert again.tolist() == found[turned].tolist()
    for one in set(content):
        assert len({int(fold) for fold, other in zip(found, content, strict=True) if other == one}) == 1


@given(st.integers(1, 200), st.integers(2, 8))
def test_folds_of_different_images_are_balanced(images: int, folds: int) -> None:
    hashes = hash_images(np.arange(images)[:, None])
    ranks = order_by_content(hashes)
    assert [hashes[i] for i in np.argsort(ranks, kind="stable")] == sorted(hashes)
    counts = np.bincount(assign_folds(ranks, folds), minlength=folds)
    assert counts.max() - counts.min() <= 1


def test_identical_images_keep_their_order() -> None:
    ranks = order_by_content([b"b", b"a", b"b", b"a"])
    assert np.argsort(ranks, kind="stable").tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("images", [4, 37, 300])
def test_drawn_folds_are_balanced_the_same_each_time_and_not_in_order(images: int) -> None:
    found = draw_folds(images)
    assert found.tolist() == draw_folds(images).tolist()
    counts = np.bincount(found, minlength=FOLDS)
    assert counts.max() - counts.min() <= 1
    assert found.tolist() != (np.arange(images) % FOLDS).tolist()
