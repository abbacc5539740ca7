"""Batches of images over one or several processors: prepared ahead, computed side by side, handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.explainer import Explainer, Maps
from onnxspace.attribution.gradients import Batch
from onnxspace.errors import AttributionError

Job = Callable[[], Maps]


class BatchPool:
    """The same model on several processors, and a thread that decodes and resizes the next batch meanwhile."""

    def __init__(self, engines: Sequence[Explainer], stack: ExitStack) -> None:
        self.engines = engines
        self._preparing = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(self._preparing.shutdown, wait=False, cancel_futures=True)
        several = len(engines) if len(engines) > 1 else 0
        self._computing = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(several)]
        for pool in self._computing:
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)

    def start(self, turn: int, images: NDArray[np.uint8], room: int) -> Job:
        """Start on a batch; the job gives its maps. One processor alone computes when it is asked."""
        engine = self.engines[turn % len(self.engines)]
        job = partial(_compute_maps, engine, self._preparing.submit(engine.prepare_batch, images, room))
        return self._computing[turn % len(self.engines)].submit(job).result if self._computing else job


def _compute_maps(engine: Explainer, prepared: Future[Batch]) -> Maps:
    return engine.to_probe_pixels(engine.compute_maps(prepared.result()))


def compute_in_order(
    engines: Sequence[Explainer], images: NDArray[np.uint8], size: int, first: int = 0
) -> Generator[tuple[int, Maps], None, None]:
    """Maps of `images` [images, size, size, 3] from `first` on, with the number of the first image of each batch.

    A batch that does not fit in memory is halved, and all from there on is started again. Raises AttributionError where
    one image does not fit.
    """
    waiting: deque[tuple[int, Job]] = deque()
    start = turn = first
    with ExitStack() as stack:
        crew = BatchPool(engines, stack)
        while start < len(images) or waiting:
            while start < len(images) and len(waiting) <= len(engines):  # one more than is computed: it is prepared
                batch = images[start : start + size]
                waiting.append((start, crew.start(turn, batch, size)))
                start, turn = start + len(batch), turn + 1
            begin, job = waiting.popleft()
            try:
                found = job()
            except (RuntimeError, MemoryError) as error:
                size = halve_batch(error, size, engines[0].network.path)
                _drop_waiting(waiting)
                start = begin
                continue
            yield begin, found


def _drop_waiting(waiting: deque[tuple[int, Job]]) -> None:
    """Forget what was started behind a batch that failed; what runs already ends by itself."""
    waiting.clear()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def halve_batch(error: BaseException, batch: int, path: str) -> int:
    """Half the batch after a failed allocation; any other error, or one image that does not fit, goes on."""
    words = str(error).lower()
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in words:
        raise error
    if batch == 1:
        raise AttributionError(
            f"{path}: one image does not fit in memory. Use a smaller `size` or another --device."
        ) from error
    return batch // 2
