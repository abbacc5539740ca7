"""Nearest-neighbour search among fingerprints: exact by one pass over all, or approximate by an index with reranking.

A matrix has a row per model, float16 [models, D] as returned by `count_sketch.flatten`, D = images · numbers, and may be mapped
from a file. The inner product of two rows estimates an affinity a with standard error (1 − a²) / √D.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxspace.errors import ConfigError
from onnxspace.similarity.tiling import count_cores
from onnxspace.storage.float16 import CHUNK, widen

_BLOCK = 2**17  # numbers that are widened at once for a product of many rows with one
_BLOCKS = 128  # blocks per task of a thread
_LIFT, _KEPT = np.float32(2.0**112), np.int32(-0x70000001)
_SIDE = 1024  # rows of a block of `find_duplicate_rows`

Found = tuple[NDArray[np.intp], NDArray[np.float64]]


def find_nearest(query: NDArray[np.floating], matrix: NDArray[np.float16], n: int = 10) -> Found:
    """Find the `n` rows of `matrix`, float16 [models, D], with the largest inner product with `query`, float [D].

    Returns their positions, intp [n], and affinities, float64 [n] in [−1, 1], best first, ties by position; fewer where the
    matrix has fewer rows. Exact: one pass over the matrix, with a few MiB per core. Raises ConfigError where lengths differ.
    """
    check_shapes(query, matrix)
    column = np.asarray(query, dtype=np.float32) * _LIFT
    found = np.empty(len(matrix), np.float32)
    step, own = max(1, _BLOCK // len(column)), threading.local()

    def work(start: int) -> None:
        if not hasattr(own, "wide"):
            own.wide = np.empty((step, len(column)), np.float32)
        for first in range(start, min(start + _BLOCKS * step, len(matrix)), step):
            rows = matrix[first : first + step]
            wide = own.wide[: len(rows)]
            _widen_scaled(rows, wide)
            np.matmul(wide, column, out=found[first : first + step])

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(count_cores()) as pool:
        deque(pool.map(work, range(0, len(matrix), _BLOCKS * step)), maxlen=0)
    return select_best(np.arange(len(matrix)), found, n)


def _widen_scaled(half: NDArray[np.float16], out: NDArray[np.float32]) -> None:
    """Convert float16 to float32 scaled by 2⁻¹¹², exactly, by moving sign, exponent and mantissa in three quick passes.

    Subnormal numbers stay subnormal, which makes products slow: they are common in maps but not in rows of sketches.
    """
    bits = out.view(np.int32)
    np.copyto(bits, half.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _KEPT, out=bits)  # clears the copies of the sign bit above the exponent


def rerank(query: NDArray[np.floating], matrix: NDArray[np.float16], candidates: NDArray[np.intp], n: int) -> Found:
    """Find the best `n` of the rows `candidates`, intp [any number], of `matrix`; otherwise as `find_nearest`."""
    rows = np.unique(candidates)
    wide = np.empty((len(rows), matrix.shape[1]), np.float32)
    widen(np.ascontiguousarray(matrix[rows]), wide)
    return select_best(rows, wide @ np.asarray(query, dtype=np.float32), n)


def select_best(rows: NDArray[np.intp], affinities: NDArray[np.float32], n: int) -> Found:
    """Select the `n` of `rows`, intp [count], with the largest `affinities`, float32 [count]: positions and values.

    Best first, ties by position; values are clipped to [−1, 1].
    """
    count = max(0, min(n, len(rows)))
    if 0 < count < len(rows):
        least = np.partition(affinities, len(rows) - count)[len(rows) - count]
        kept = np.flatnonzero(affinities >= least)
    else:
        kept = np.arange(len(rows))
    order = kept[np.argsort(-affinities[kept], kind="stable")][:count]
    return rows[order], np.clip(affinities[order].astype(np.float64), -1.0, 1.0)


@dataclass(frozen=True)
class Pair:
    """Two rows, `first` < `second`, with their affinity and its standard error."""

    first: int
    second: int
    affinity: float
    standard_error: float


@dataclass(frozen=True)
class Group:
    """Rows connected by pairs with affinities above a threshold: ascending `members`, and `pairs`, the most similar first."""

    members: tuple[int, ...]
    pairs: tuple[Pair, ...]

    @property
    def weakest(self) -> Pair:
        return self.pairs[-1]


def find_duplicate_rows(
    matrix: NDArray[np.float16],
    threshold: float,
    propose: Callable[[NDArray[np.float16]], NDArray[np.intp]] | None = None,
) -> list[Group]:
    """Find groups of rows of `matrix`, float16 [models, D], connected by affinities ≥ `threshold`, the largest group first.

    Compares all pairs, models² · D multiplications. Where `propose` is given (such as `Index.propose`), each row is only
    compared with the rows it proposes, so that a pair may be missed. Raises ConfigError for a threshold outside (0, 1].
    """
    return group_pairs(find_pairs_above(matrix, threshold, propose))


def find_pairs_above(
    matrix: NDArray[np.float16],
    threshold: float,
    propose: Callable[[NDArray[np.float16]], NDArray[np.intp]] | None = None,
    proposed: int | None = None,
) -> list[Pair]:
    """Find the pairs of `find_duplicate_rows`. Where `proposed` is given, only the first `proposed` rows rely on `propose`.

    Raises ConfigError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"The threshold for duplicates must be above 0 and at most 1, not {threshold}.")
    least = threshold - 2e-3 / np.sqrt(matrix.shape[1])  # rounding to float16 puts equal rows this much below 1
    count = 0 if propose is None else len(matrix) if proposed is None else proposed
    found = [] if propose is None else [pair for part in _compare_proposals(matrix[:count], least, propose) for pair in part]
    return found + [pair for part in _compare_blocks(matrix, least, count) for pair in part]


def group_pairs(pairs: Sequence[Pair]) -> list[Group]:
    """Group rows into connected components of `pairs`, the largest group first."""
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    ends = np.array([(p.first, p.second) for p in pairs], np.intp).reshape(-1, 2)
    size = int(ends.max()) + 1 if len(ends) else 0
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
    label = connected_components(graph, directed=False)[1] if size else []
    groups: dict[int, list[Pair]] = {}
    for pair in sorted(pairs, key=lambda p: (-p.affinity, p.first, p.second)):
        groups.setdefault(int(label[pair.first]), []).append(pair)
    found_groups = [
        Group(tuple(sorted({i for p in some for i in (p.first, p.second)})), tuple(some)) for some in groups.values()
    ]
    return sorted(found_groups, key=lambda group: (-len(group.members), group.members))


def check_shapes(query: NDArray[np.floating], matrix: NDArray[np.float16]) -> None:
    """Raise ConfigError unless `query` is [D] and `matrix` [models, D]."""
    if query.ndim != 1 or matrix.ndim != 2 or query.shape[0] != matrix.shape[1]:
        raise ConfigError(
            f"A fingerprint of shape {list(query.shape)} can't be compared with rows of shape {list(matrix.shape)}."
        )


def _compare_blocks(matrix: NDArray[np.float16], least: float, start: int = 0) -> Iterator[list[Pair]]:
    """Pairs of all rows with those from `start` on, by blocks on and above the diagonal."""
    lefts = range(start, len(matrix), _SIDE)
    for top in (*range(0, start, _SIDE), *lefts) if lefts else ():
        rows = _widen_rows(matrix[top : min(top + _SIDE, start) if top < start else top + _SIDE])
        for left in lefts[max(0, top - start) // _SIDE :]:
            product = rows @ (rows if left == top else _widen_rows(matrix[left : left + _SIDE])).T
            i, j = np.nonzero(product >= least)
            yield _make_pairs(i + top, j + left, product[i, j], matrix.shape[1])


def _compare_proposals(
    matrix: NDArray[np.float16], least: float, propose: Callable[[NDArray[np.float16]], NDArray[np.intp]]
) -> Iterator[list[Pair]]:
    for top in range(0, len(matrix), _SIDE):
        part = matrix[top : top + _SIDE]
        for row, (wide, others) in enumerate(zip(_widen_rows(part), propose(part), strict=True), top):
            later = np.unique(others[others > row])
            products = _widen_rows(matrix[later]) @ wide
            kept = products >= least
            yield _make_pairs(np.full(int(kept.sum()), row), later[kept], products[kept], matrix.shape[1])


def _make_pairs(first: NDArray[np.intp], second: NDArray[np.intp], products: NDArray[np.float32], size: int) -> list[Pair]:
    affinity = np.clip(products.astype(np.float64), -1.0, 1.0)
    errors = (1 - affinity**2) / np.sqrt(size)
    found = zip(first.tolist(), second.tolist(), affinity.tolist(), errors.tolist(), strict=True)
    return [Pair(i, j, a, e) for i, j, a, e in found if i < j]


def _widen_rows(rows: NDArray[np.float16]) -> NDArray[np.float32]:
    wide = np.empty(rows.shape, np.float32)
    widen(np.ascontiguousarray(rows), wide, np.empty(CHUNK, np.intp))
    return wide
