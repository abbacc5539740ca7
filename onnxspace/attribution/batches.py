"""Batches of images on one or several devices: prepared ahead, computed in parallel, returned in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.cuda_graphs import RECORDING
from onnxspace.attribution.explainer import Explainer, Maps
from onnxspace.attribution.gradients import Batch
from onnxspace.errors import AttributionError

Job = Callable[[], Maps]


class BatchPool:
    """A model on one or several devices, and a thread that preprocesses the next batch.

    `engines` are the explainers of the model, one per device; `stack` ends the threads.
    """

    def __init__(self, engines: Sequence[Explainer], stack: ExitStack) -> None:
        self.engines = engines
        self._preparing = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(self._preparing.shutdown, wait=False, cancel_futures=True)
        several = len(engines) if len(engines) > 1 else 0
        self._computing = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(several)]
        for pool in self._computing:
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)

    def start(self, turn: int, images: NDArray[np.uint8], room: int) -> Job:
        """Start computing a batch and return a function that returns its maps; a single device computes when that is called.

        `turn` numbers the batches, `images` is uint8 [images, size, size, 3], `room` as in `Batch`.
        """
        engine = self.engines[turn % len(self.engines)]
        job = partial(_compute_maps, engine, self._preparing.submit(engine.prepare_batch, images, room))
        return self._computing[turn % len(self.engines)].submit(job).result if self._computing else job


def _compute_maps(engine: Explainer, prepared: Future[Batch]) -> Maps:
    return engine.to_probe_pixels(engine.compute_maps(prepared.result()))


def compute_in_order(
    engines: Sequence[Explainer], images: NDArray[np.uint8], size: int, first: int = 0
) -> Generator[tuple[int, Maps], None, None]:
    """Yield the maps of `images`, uint8 [images, size, size, 3], from `first` on, with the position of each batch's first image.

    `size` is the number of images per batch. Where a batch does not fit in memory, it and those after it are restarted with half
    that size. Raises AttributionError where one image does not fit.
    """
    waiting: deque[tuple[int, Job]] = deque()
    start = turn = first
    with ExitStack() as stack:
        pool = BatchPool(engines, stack)
        while start < len(images) or waiting:
            while start < len(images) and len(waiting) <= len(engines):  # one more than is computed, which is preprocessed
                batch = images[start : start + size]
                waiting.append((start, pool.start(turn, batch, size)))
                start, turn = start + len(batch), turn + 1
            begin, job = waiting.popleft()
            try:
                maps = job()
            except (RuntimeError, MemoryError) as error:
                size = halve_batch(error, size, engines[0].network.path, engines[0].images_at_once)
                _drop_waiting(waiting)
                start = begin
                continue
            yield begin, maps


def _drop_waiting(waiting: deque[tuple[int, Job]]) -> None:
    """Drop the batches after one that failed; those that are running are left to finish."""
    waiting.clear()
    if torch.cuda.is_available():
        with RECORDING:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


def halve_batch(error: BaseException, batch: int, path: str, at_once: int = 1) -> int:
    """Return half of `batch` after a failed allocation, a multiple of `at_once`; any other `error` is raised again.

    Raises AttributionError, naming the model file `path`, where the batch has no more than `at_once` images already.
    """
    message = str(error).lower()
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in message:
        raise error
    if batch <= at_once:
        words = "one image does" if at_once == 1 else f"{at_once} images, which it takes at a time, do"
        raise AttributionError(
            f"{path}: {words} not fit in memory. Allow more with --limits memory=…, or use a smaller `size` or another --device."
        ) from error
    return max(1, batch // 2 // at_once) * at_once
