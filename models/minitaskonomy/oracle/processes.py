"""Measuring in several processes, of one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch

Found = TypeVar("Found")


def measure_each(jobs: Sequence[Callable[[], Found]], workers: int) -> Iterator[Found]:
    """Carry out jobs, which can be pickled, in `workers` processes; yields their results in order. One worker is this process."""
    if workers <= 1:
        yield from (job() for job in jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running = [pool.submit(job) for job in jobs]
        try:
            for each in running:
                yield each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
