"""Affinity: the mean over images of the cosine between two models' maps, streamed from disk.

With unit maps this is one Gram matrix, `a(i, j) = (1/N) Σ_n ⟨A_i,n, A_j,n⟩`. Each thread reads a batch of images of a tile
of models, widens one image at a time to float32 (float64 where models are few), multiplies with single-threaded BLAS, and
divides in float64 by the lengths that the rows have as stored: float16 leaves a unit row up to 1e-5 off its length. Memory
holds that much, whatever the number of models and images. Files are read, not mapped: reading is faster, and pages of a map
count as memory.
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
from onnxspace.similarity.tile_worker import Maps, Sink, TileWorker
from onnxspace.similarity.tiling import Tile, TilePlan, batches, plan_for, tiles_of

DEFAULT_MEMORY = 2**30

Progress = Callable[[float], None]
#: Makes the place one thread works at: `Desk`, or one that multiplies elsewhere.
MakeDesk = Callable[[TilePlan, Maps, Maps | None], TileWorker]


def affinity_matrix(
    files: Sequence[Path], memory: int = DEFAULT_MEMORY, progress: Progress | None = None, desk: MakeDesk = TileWorker
) -> NDArray[np.float64]:
    """float64 [models, models] from files of unit maps of equal shape; symmetric to the bit, in [−1, 1].

    The diagonal is 1 by definition. `memory` bounds the bytes of everything but the result (less than 1 MiB counts as
    1 MiB); `progress` gets the share that is done; `desk` says where products are made (`gpudesk`). Raises ProbeError, a
    ValueError, where shapes differ.
    """
    maps = Maps.opened(files)
    return _finished(_mean(maps, None, memory, progress, desk))


def affinity_rows(
    new_files: Sequence[Path],
    old_files: Sequence[Path],
    memory: int = DEFAULT_MEMORY,
    progress: Progress | None = None,
    desk: MakeDesk = TileWorker,
) -> NDArray[np.float64]:
    """The rows that `new_files` add to a matrix of `old_files`: float64 [m, T + m], old models first, then the new.

    Costs m · (T + m) comparisons rather than (T + m)². `grown` puts rows and matrix together. Otherwise as
    `affinity_matrix`.
    """
    maps = Maps.opened([*new_files, *old_files])
    count = len(new_files)
    among = _finished(_mean(maps.part(0, count), None, memory, None, desk))
    if not old_files:
        return among
    across = _mean(maps.part(0, count), maps.part(count, len(maps.paths)), memory, progress, desk)
    return np.hstack([np.clip(across, -1.0, 1.0), among])


def grown(matrix: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix [T, T] of old models and the rows [m, T + m] of new ones as one matrix [T + m, T + m]."""
    old = len(matrix)
    return np.vstack([np.hstack([matrix, rows[:, :old].T]), rows])


def image_cosines(
    files_a: Sequence[Path],
    files_b: Sequence[Path] | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Cosines image by image, float32 [images, A, B] in [−1, 1]; `files_b` None compares `files_a` with themselves.

    A zero map has cosine 0 with everything, itself included. Raises ConfigError where the result alone is over `memory`.
    """
    right = files_a if files_b is None else files_b
    maps = Maps.opened([*files_a, *([] if files_b is None else right)])
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
    for _ in _streamed(a, b, memory, keep, progress):
        pass
    return np.clip(found, -1.0, 1.0, out=found)


def _mean(left: Maps, right: Maps | None, memory: int, progress: Progress | None, desk: MakeDesk) -> NDArray[np.float64]:
    """Mean over images of the cosines, float64 [left, right]; of `left` with itself only tiles on and above the diagonal."""
    total = np.zeros((len(left.paths), len((right or left).paths)))
    for tile, part in _streamed(left, right, memory, None, progress, desk):
        total[tile.left, tile.right] += part
    total /= left.images
    return total


def _streamed(
    left: Maps, right: Maps | None, memory: int, sink: Sink | None, progress: Progress | None, desk: MakeDesk = TileWorker
) -> Iterator[tuple[Tile, NDArray[np.float64]]]:
    """Tiles with the sum of cosines over a batch of images, float64 [left, right], in an order that threads don't change."""
    plan = plan_for(len(left.paths), None if right is None else len(right.paths), left.images, left.pixels, memory)
    todo = [(tile, batch) for tile in tiles_of(plan) for batch in batches(plan)]
    own = threading.local()

    def work(tile: Tile, batch: range) -> tuple[Tile, NDArray[np.float64]]:
        if not hasattr(own, "desk"):
            own.desk = desk(plan, left, right)
        return tile, own.desk.batch(tile, batch, sink)

    # BLAS with threads of its own shares out one small product and waits for the slowest; these threads share out images.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(plan.workers) as pool:
        for done, result in enumerate(_in_order(pool, work, todo, plan.workers + 1), 1):
            yield result
            if progress is not None:
                progress(done / len(todo))


def _in_order(pool: ThreadPoolExecutor, work: Callable[..., Any], todo: Sequence[tuple[Any, ...]], ahead: int) -> Iterator[Any]:
    """Results of `work` in the order of `todo`, at most `ahead` of them begun before they are asked for."""
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


def _finished(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """In its own place: symmetric after its upper triangle, within [−1, 1], with the diagonal that the definition gives."""
    np.clip(mean, -1.0, 1.0, out=mean)
    for row in range(len(mean)):
        mean[row, row] = 1.0
        mean[row + 1 :, row] = mean[row, row + 1 :]
    return mean
