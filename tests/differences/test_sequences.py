"""Alignment of two sequences by keys, against sequences whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from onnxspace.differences.child.sequences import align_between, keep_ascending


@pytest.mark.parametrize("seed", range(8))
def test_what_was_inserted_and_removed_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old = list(range(300))
    kept = [key for key in old if rng.random() > 0.1]
    new = [key for one in kept for key in ((one,) if rng.random() > 0.1 else (one, -one - 1000))]
    assert [(old[a], new[b]) for a, b in align_between([], old, new)] == [(key, key) for key in kept]


def test_repeated_keys_are_aligned_in_order() -> None:
    """As Conv, BatchNormalization, Relu of which one was removed."""
    old = ["conv", "norm", "relu"] * 40
    new = old[:61] + old[62:]
    found = align_between([], old, new)
    assert len(found) == len(new)
    assert all(old[a] == new[b] for a, b in found)
    assert found == sorted(found)


def test_pairs_that_are_given_stay_and_nothing_crosses_them() -> None:
    found = align_between([(2, 0)], ["a", "b", "x", "c"], ["y", "c", "a"])
    assert found == [(2, 0), (3, 1)]


def test_none_matches_nothing() -> None:
    assert align_between([], [None, "a"], [None, "a"]) == [(1, 1)]


def test_four_thousand_nodes_take_a_second() -> None:
    """With few different keys, and sequences of which most differ."""
    rng = np.random.default_rng(0)
    old, new = ([int(k) for k in rng.integers(0, 40, 4000)] for _ in range(2))
    began = time.process_time()
    found = align_between([], old, new)
    assert time.process_time() - began < 5
    assert all(old[a] == new[b] for a, b in found)
    assert found == keep_ascending(found)


def test_the_longest_ascending_run_is_kept() -> None:
    assert keep_ascending([(0, 5), (1, 1), (2, 2), (3, 0), (4, 7)]) == [(1, 1), (2, 2), (4, 7)]
