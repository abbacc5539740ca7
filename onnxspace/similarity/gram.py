"""Affinity: the mean over images of the cosine between two models' maps, streamed from disk.

For unit maps this is one Gram matrix, `a(i, j) = (1/N) Σ_n ⟨A_i,n, A_j,n⟩`. Each thread reads a batch of images of a tile
of models, widens one image at a time to float32 (float64 where models are few), multiplies with single-threaded BLAS, and
divides in float64 by the lengths of the rows as stored: rounding to float16 changes the length of a unit row by up to 1e-5.
Memory use is bounded, whatever the number of models and images. Files are read rather than memory-mapped: reading is faster,
and mapped pages count as memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import DEFAULT_MEMORY, Share
from onnxspace.similarity.tile_worker import MapFiles, Sink, TileWorker
from onnxspace.similarity.tiling import Tile, TilePlan, image_batches, plan_for, tiles_of

#: Creates the worker of one thread: `TileWorker`, or one that multiplies on another device.
TileWorkerFactory = Callable[[TilePlan, MapFiles, MapFiles | None], TileWorker]
#: As `affinity_rows`, here or elsewhere: new files, old files, bytes of memory, and a callback for the share that is done.
RowFunction = Callable[[Sequence[Path], Sequence[Path], int, Share | None], NDArray[np.float64]]


def affinity_matrix(
    files: Sequence[Path], memory: int = DEFAULT_MEMORY, progress: Share | None = None, worker: TileWorkerFactory = TileWorker
) -> NDArray[np.float64]:
    """Compute the affinities of `files`, each the unit maps of one model: float64 [models, models] in [−1, 1].

    The maps have equal shapes, float16 [images, pixels]. The result is exactly symmetric, and its diagonal is 1 by definition.
    `memory` bounds the bytes of everything but the result (at least 1 MiB); `progress` receives the share that is done, 0 to 1;
    `worker` selects where products are computed (see `gpu_worker`). Raises ProbeError, a ValueError, where shapes differ.
    """
    maps = MapFiles.open(files)
    return _symmetrise(_mean_cosines(maps, None, memory, progress, worker))


def affinity_rows(
    new_files: Sequence[Path],
    old_files: Sequence[Path],
    memory: int = DEFAULT_MEMORY,
    progress: Share | None = None,
    worker: TileWorkerFactory = TileWorker,
) -> NDArray[np.float64]:
    """Compute the rows that m `new_files` add to a matrix of T `old_files`: float64 [m, T + m], old models first.

    Costs m · (T + m) comparisons rather than (T + m)². `append_rows` joins rows and matrix. Otherwise as `affinity_matrix`.
    """
    maps = MapFiles.open([*new_files, *old_files])
    count = len(new_files)
    among = _symmetrise(_mean_cosines(maps.part(0, count), None, memory, None, worker))
    if not old_files:
        return among
    across = _mean_cosines(maps.part(0, count), maps.part(count, len(maps.paths)), memory, progress, worker)
    return np.hstack([np.clip(across, -1.0, 1.0), among])


def append_rows(matrix: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join the `matrix` [T, T] of old models and the `rows` [m, T + m] of new ones to one matrix [T + m, T + m]."""
    old = len(matrix)
    return np.vstack([np.hstack([matrix, rows[:, :old].T]), rows])


def image_cosines(
    files_a: Sequence[Path],
    files_b: Sequence[Path] | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: Share | None = None,
) -> NDArray[np.float32]:
    """Compute the cosines of each image, float32 [images, A, B] in [−1, 1], for A `files_a` and B `files_b` of unit maps.

    Where `files_b` is None, `files_a` are compared with themselves. A zero map has cosine 0 with everything, itself included.
    `memory` and `progress` are as in `affinity_matrix`. Raises ConfigError where the result alone exceeds `memory`, and
    ProbeError where shapes differ.
    """
    right = files_a if files_b is None else files_b
    maps = MapFiles.open([*files_a, *([] if files_b is None else right)])
    size = 4 * maps.images * len(files_a) * len(right)
    if size > memory:
        raise ConfigError(
            f"Cosines of {maps.images} images for {len(files_a)} × {len(right)} models take {size / 2**20:,.0f} MiB, more than"
            f" the {memory / 2**20:,.0f} MiB allowed; compare fewer models or images, or allow more memory."
        )
    found = np.zeros((maps.images, len(files_a), len(right)), np.float32)

    def keep(image: int, tile: Tile, cosines: NDArray[np.float64]) -> None:
        found[image, tile.left, tile.right] = cosines
        if files_b is None and tile.left != tile.right:
            found[image, tile.right, tile.left] = cosines.T

    a, b = maps.part(0, len(files_a)), None if files_b is None else maps.part(len(files_a), len(maps.paths))
    for _ in _stream_tiles(a, b, memory, keep, progress):
        pass
    return np.clip(found, -1.0, 1.0, out=found)


def _mean_cosines(
    left: MapFiles, right: MapFiles | None, memory: int, progress: Share | None, worker: TileWorkerFactory
) -> NDArray[np.float64]:
    """Mean cosines over images, float64 [left, right]; of `left` with itself only the tiles on and above the diagonal."""
    total = np.zeros((len(left.paths), len((right or left).paths)))
    for tile, part in _stream_tiles(left, right, memory, None, progress, worker):
        total[tile.left, tile.right] += part
    total /= left.images
    return total


def _stream_tiles(
    left: MapFiles,
    right: MapFiles | None,
    memory: int,
    sink: Sink | None,
    progress: Share | None,
    worker: TileWorkerFactory = TileWorker,
) -> Iterator[tuple[Tile, NDArray[np.float64]]]:
    """Tiles with the sum of cosines over a block of images, float64 [left, right], in an order independent of threads."""
    plan = plan_for(len(left.paths), None if right is None else len(right.paths), left.images, left.pixels, memory)
    todo = [(tile, batch) for tile in tiles_of(plan) for batch in image_batches(plan)]
    own = threading.local()

    def work(tile: Tile, batch: range) -> tuple[Tile, list[NDArray[np.float64]]]:
        if not hasattr(own, "worker"):
            own.worker = worker(plan, left, right)
        return tile, own.worker.batch(tile, batch, sink)

    # Multi-threaded BLAS would split one small product and wait for the slowest part; these threads split the images instead.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(plan.workers) as pool:
        for done, (tile, parts) in enumerate(_run_in_order(pool, work, todo, plan.workers + 1), 1):
            yield from ((tile, part) for part in parts)
            if progress is not None:
                progress(done / len(todo))


def _run_in_order(
    pool: ThreadPoolExecutor, work: Callable[..., Any], todo: Sequence[tuple[Any, ...]], ahead: int
) -> Iterator[Any]:
    """Results of `work` in the order of `todo`, with at most `ahead` tasks submitted before their results are consumed."""
    begun: deque[Future[Any]] = deque()
    try:
        for arguments in todo:
            begun.append(pool.submit(work, *arguments))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def _symmetrise(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """In place: copy the upper triangle to the lower, clip to [−1, 1], and set the diagonal to 1, its value by definition."""
    np.clip(mean, -1.0, 1.0, out=mean)
    for row in range(len(mean)):
        mean[row, row] = 1.0
        mean[row + 1 :, row] = mean[row, row + 1 :]
    return mean
