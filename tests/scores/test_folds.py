"""Folds by content: even, balanced over classes, and the same whatever images are called and in whatever order they come."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxspace import scores
from onnxspace.errors import ConfigError
from onnxspace.scores.folds import (
    FOLDS,
    assign_balanced_folds,
    assign_folds,
    draw_folds,
    hash_images,
    order_by_content,
    scatter_positions,
)

Labels = st.lists(st.integers(0, 4), min_size=2, max_size=60)


def test_the_hash_is_that_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    assert hash_images(images) == [hashlib.sha256(image.tobytes()).digest() for image in images]
    assert hash_images(images[:, ::-1]) != hash_images(images)
    assert hash_images(np.asfortranarray(images)) == hash_images(images)


def test_places_are_those_of_sorted_digests_and_equal_ones_share() -> None:
    assert order_by_content([b"c", b"a", b"c", b"b"]).tolist() == [2, 0, 2, 1]
    assert sorted(scatter_positions(50).tolist()) == list(range(50))
    assert abs(np.corrcoef(scatter_positions(500), np.arange(500))[0, 1]) < 0.1


@given(labels=Labels, folds=st.integers(2, 7), seed=st.integers(0, 10**6))
def test_every_class_is_even_over_folds_and_so_are_all_images(labels: list[int], folds: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(labels))
    assigned = assign_balanced_folds(order, labels, folds)
    for label in set(labels):
        sizes = np.bincount(assigned[np.array(labels) == label], minlength=folds)
        assert np.ptp(sizes) <= 1
    for found in (assigned, assign_folds(order, folds)):
        assert np.ptp(np.bincount(found, minlength=folds)) <= 1


@given(labels=Labels, folds=st.integers(2, 7), seed=st.integers(0, 10**6))
def test_neither_order_nor_names_of_classes_matter(labels: list[int], folds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = rng.integers(0, max(1, len(labels) // 2), len(labels))  # some images are there twice, with any labels
    turn, names = rng.permutation(len(labels)), rng.permutation(5)
    assigned = assign_balanced_folds(content, labels, folds)
    np.testing.assert_array_equal(assign_balanced_folds(content[turn], names[np.array(labels)[turn]], folds), assigned[turn])
    np.testing.assert_array_equal(assign_folds(content[turn], folds), assign_folds(content, folds)[turn])
    for place in set(content.tolist()):
        assert len(set(assigned[content == place].tolist())) == 1
        assert len(set(assign_folds(content, folds)[content == place].tolist())) == 1


@pytest.mark.parametrize(("counts", "folds"), [((30, 30, 30), 10), ((3, 3, 3), 3), ((2, 2), 2), ((1, 40, 41), 10), ((1, 1), 2)])
def test_there_are_as_many_folds_as_the_median_class_has_images(counts: tuple[int, ...], folds: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    ready = scores.prepare(np.random.default_rng(0).standard_normal((len(labels), 3)), labels)
    assert ready.folds.max() + 1 == folds


def test_large_sets_have_small_folds() -> None:
    features = np.random.default_rng(0).standard_normal((6000, 2))
    for labels in (np.arange(6000) % 3, features[:, 0]):
        assert np.bincount(scores.prepare(features, labels).folds).max() <= 512


@pytest.mark.parametrize("content", [[0, 1], [0.5] * 4, [[0]] * 4])
def test_content_that_is_no_place_per_image_is_refused(content: object) -> None:
    with pytest.raises(ConfigError, match="The content of 4 images is an integer for each"):
        scores.prepare(np.eye(4), list("abab"), content=content)  # type: ignore[arg-type]


def test_copies_of_one_image_can_not_be_held_out() -> None:
    ready = scores.prepare(np.eye(4), list("abab"), content=[3, 3, 3, 3])
    with pytest.raises(ConfigError, match="All images are identical"):
        scores.linear_probe(ready)
    with pytest.raises(ConfigError, match=r"must be from 1 to 0.* Give more images"):
        scores.knn(ready, neighbours=1)


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
