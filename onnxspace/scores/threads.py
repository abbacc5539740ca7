"""Threads of scores: products of some hundred rows take longer on several BLAS threads, so sources are shared among threads instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from onnxspace.sandbox.processors import count_threads

#: The most sources that are prepared at once: each holds its features in double precision.
MOST_AT_ONCE = 4
#: The most images whose products are small.
MOST_SMALL = 1000
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def blas_threads(images: int = 0) -> Iterator[None]:
    """Have each product in the block computed by one thread, where it is of few `images`: at most 1,000.

    On several threads, which wait for each other, small products take two to five times as long, most on a busy machine. The numbers
    are the same to the bit: threads divide a product among its columns, not its sums.
    """
    import scipy.linalg  # noqa: F401  # it has a BLAS of its own, which a limit reaches only once it is loaded

    with threadpool_limits(1 if images <= MOST_SMALL else None, user_api="blas"):
        yield


def map_in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Return `function` of each of `items` in their order, computed by as many threads as may compute, at most 4.

    An exception, Ctrl-C among them, ends it as soon as the calls that have begun are finished.
    """
    given = list(items)
    workers = min(len(given), count_threads(), MOST_AT_ONCE)
    if workers < 2:
        return [function(one) for one in given]
    pool = ThreadPoolExecutor(workers)
    try:
        return list(pool.map(function, given))
    finally:
        pool.shutdown(cancel_futures=True)
