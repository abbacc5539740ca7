"""Threads of scores: one for BLAS where products are small, several for sources, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata
from threadpoolctl import threadpool_info, threadpool_limits

from onnxspace.scores import threads
from onnxspace.scores.directed import Comparison, knn_agreements, predictivities
from onnxspace.scores.threads import MOST_SMALL, blas_threads, map_in_threads
from onnxspace.similarity.mean_rank import combine_many


@pytest.fixture
def two_blas_threads() -> Iterator[None]:
    import scipy.linalg  # noqa: F401

    with threadpool_limits(2, user_api="blas"):
        yield


def count_blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.mark.usefixtures("two_blas_threads")
def test_small_products_take_one_thread_of_every_blas_and_large_ones_all() -> None:
    with blas_threads(MOST_SMALL):
        assert count_blas_threads() == {1}
    with blas_threads(MOST_SMALL + 1):
        assert count_blas_threads() == {2}
    assert count_blas_threads() == {2}


def test_results_of_threads_are_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count_threads", lambda: 2)
    both = threading.Barrier(2, timeout=30)

    def compute(number: int) -> int:
        both.wait()  # passes only where two run at once
        return number * number

    assert map_in_threads(compute, range(6)) == [0, 1, 4, 9, 16, 25]


def test_an_exception_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count_threads", lambda: 2)
    begun: list[int] = []

    def compute(number: int) -> int:
        begun.append(number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_in_threads(compute, range(1000))
    assert len(begun) < 1000


@pytest.mark.parametrize("processors", [1, 3])
def test_directed_scores_are_the_same_to_the_bit_on_any_number_of_threads(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    sides: list[list[NDArray[Any] | None]] = [
        [generator.normal(size=(24, 3, 8, 8)), generator.normal(size=(24, 5, 8, 8))] for _ in range(4)
    ]
    sides[1][1], sides[2][1] = None, np.zeros((3, 2))  # none, and too few images
    names, alone = ["a", "b", "c", "d"], []
    for compute in (predictivities, knn_agreements):
        monkeypatch.setattr(threads, "count_threads", lambda: 1)
        alone.append(compute(sides, Comparison(names)))
        monkeypatch.setattr(threads, "count_threads", lambda: processors)
        found = compute(sides, Comparison(names))
        np.testing.assert_array_equal(found.matrix, alone[-1].matrix)
        assert found.why == alone[-1].why
    assert [sentence.partition(":")[0] for sentence in alone[0].why] == ["c"]


def test_ranks_of_rows_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).integers(0, 5, size=(3, 50, 9)).astype(float)
    ranks = np.mean([rankdata(-one, axis=1) for one in values], axis=0)
    np.testing.assert_array_equal(combine_many(values), 1 - (ranks - 1) / 8)
