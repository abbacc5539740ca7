"""Affinity: the mean over images of the cosine between two models' maps, streamed from disk.

With unit maps this is one Gram matrix, `a(i, j) = (1/N) Σ_n ⟨A_i,n, A_j,n⟩`. Each thread reads a batch of images of a tile
of models, widens one image at a time to float32 (float64 where models are few), multiplies with single-threaded BLAS, and
divides in float64 by the lengths that the rows have as stored: float16 leaves a unit row up to 1e-5 off its length. Memory holds that much, whatever
the number of models and images. Files are read, not mapped: reading is faster, and pages of a map count as memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxspace.errors import ConfigError, ProbeError
from onnxspace.halves import widen
from onnxspace.store import open_maps
from onnxspace.tiles import Plan, Tile, batches, plan_for, tiles_of

DEFAULT_MEMORY = 2**30

Progress = Callable[[float], None]
#: What is made of one image: its number, its tile, and the cosines float64 [left, right].
_Sink = Callable[[int, Tile, NDArray[np.float64]], None]


def affinity_matrix(
    files: Sequence[Path], memory: int = DEFAULT_MEMORY, progress: Progress | None = None
) -> NDArray[np.float64]:
    """float64 [models, models] from files of unit maps of equal shape; symmetric to the bit, in [−1, 1].

    The diagonal is 1 by definition. `memory` bounds the bytes of everything but the result (less than 1 MiB counts as
    1 MiB); `progress` gets the share that is done. Raises ProbeError, a ValueError, where shapes differ.
    """
    maps = _Maps.opened(files)
    return _finished(_mean(maps, None, memory, progress))


def affinity_rows(
    new_files: Sequence[Path],
    old_files: Sequence[Path],
    memory: int = DEFAULT_MEMORY,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """The rows that `new_files` add to a matrix of `old_files`: float64 [m, T + m], old models first, then the new.

    Costs m · (T + m) comparisons rather than (T + m)². `grown` puts rows and matrix together. Otherwise as
    `affinity_matrix`.
    """
    maps = _Maps.opened([*new_files, *old_files])
    count = len(new_files)
    among = _finished(_mean(maps.part(0, count), None, memory, None))
    if not old_files:
        return among
    across = _mean(maps.part(0, count), maps.part(count, len(maps.paths)), memory, progress)
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
    maps = _Maps.opened([*files_a, *([] if files_b is None else right)])
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


@dataclass(frozen=True)
class _Maps:
    """Files of maps of one shape: where they are, where their numbers begin, and how many there are."""

    paths: tuple[Path, ...]
    starts: tuple[int, ...]
    images: int
    pixels: int

    @classmethod
    def opened(cls, files: Sequence[Path]) -> _Maps:
        found = [_described(path) for path in files]
        shapes = {shape for shape, _ in found}
        if len(shapes) != 1:
            raise ProbeError(f"maps of different probe sets can't be compared: shapes {sorted(shapes)}")
        return cls(tuple(files), tuple(start for _, start in found), *shapes.pop())

    def part(self, first: int, last: int) -> _Maps:
        return _Maps(self.paths[first:last], self.starts[first:last], self.images, self.pixels)

    def read(self, models: slice, first: int, out: NDArray[np.float16]) -> None:
        """Fill `out`, float16 [models, count], with as many numbers of each file from the number `first` on."""
        for path, start, row in zip(self.paths[models], self.starts[models], out, strict=True):
            room = memoryview(row).cast("B")
            with path.open("rb", buffering=0) as file:
                file.seek(start + 2 * first)
                while room and (count := file.readinto(room)):
                    room = room[count:]
            if room:
                raise ProbeError(f"The maps in {path} end too early: the file was cut off; make it again.")


def _described(path: Path) -> tuple[tuple[int, int], int]:
    try:
        maps: Any = open_maps(path)
    except (ValueError, EOFError, BadZipFile) as error:
        raise ProbeError(f"{path} holds no maps that can be read ({error}); make it again.") from error
    if not isinstance(maps, np.memmap):
        raise ProbeError(f"{path} is an archive, not maps: float16 [images, pixels] in one .npy file.")
    if maps.ndim != 2 or maps.dtype != np.float16 or not maps.flags.c_contiguous:
        raise ProbeError(f"{path} holds {maps.dtype} of shape {maps.shape}, not maps: float16 [images, pixels], row by row.")
    return (int(maps.shape[0]), int(maps.shape[1])), int(maps.offset)


def _mean(left: _Maps, right: _Maps | None, memory: int, progress: Progress | None) -> NDArray[np.float64]:
    """Mean over images of the cosines, float64 [left, right]; of `left` with itself only tiles on and above the diagonal."""
    total = np.zeros((len(left.paths), len((right or left).paths)))
    for tile, part in _streamed(left, right, memory, None, progress):
        total[tile.left, tile.right] += part
    total /= left.images
    return total


def _streamed(
    left: _Maps, right: _Maps | None, memory: int, sink: _Sink | None, progress: Progress | None
) -> Iterator[tuple[Tile, NDArray[np.float64]]]:
    """Tiles with the sum of cosines over a batch of images, float64 [left, right], in an order that threads don't change."""
    plan = plan_for(len(left.paths), None if right is None else len(right.paths), left.images, left.pixels, memory)
    todo = [(tile, batch) for tile in tiles_of(plan) for batch in batches(plan)]
    own = threading.local()

    def work(tile: Tile, batch: range) -> tuple[Tile, NDArray[np.float64]]:
        if not hasattr(own, "desk"):
            own.desk = _Desk(plan, left, right)
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


class _Desk:
    """The room one thread works in: raw numbers of a tile's models, a stretch of one image widened, its Gram matrix."""

    def __init__(self, plan: Plan, left: _Maps, right: _Maps | None) -> None:
        self.plan, self.left, self.right = plan, left, right
        self._raw = np.empty(plan.models * plan.read, np.float16)
        self._wide = np.empty(plan.models * plan.width, f"f{plan.item}")
        self._index = np.empty(plan.chunk, np.intp)
        self._product = np.empty(plan.left * plan.right, f"f{plan.item}")
        self._cosines = np.empty(plan.left * plan.right)

    def batch(self, tile: Tile, images: range, sink: _Sink | None) -> NDArray[np.float64]:
        total = np.zeros(tile.shape)
        for image in images:
            cosines = self._image(tile, image, images)
            total += cosines
            if sink is not None:
                sink(image, tile, cosines)
        return total

    def _image(self, tile: Tile, image: int, images: range) -> NDArray[np.float64]:
        """Cosines of one image, float64 [left, right], in room that the next image takes again."""
        rows, columns = tile.shape
        product = self._product[: rows * columns].reshape(tile.shape)
        cosines = self._cosines[: rows * columns].reshape(tile.shape)
        cosines[:] = 0
        squares = np.zeros(tile.models)
        for wide in self._stretches(tile, image, images):
            np.matmul(wide[:rows], wide[-columns:].T, out=product)  # of an array with itself: half the work
            cosines += product
            squares += product.diagonal() if tile.diagonal else np.einsum("ij,ij->i", wide, wide)
        scale = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))
        cosines *= scale[:rows, None]
        cosines *= scale[-columns:]
        return cosines

    def _stretches(self, tile: Tile, image: int, images: range) -> Iterator[NDArray[Any]]:
        """One image of the tile's models as float32 or float64 [models, width], stretch by stretch."""
        pixels, step = self.left.pixels, self.plan.width
        for begin in range(0, pixels, step):
            count = min(step, pixels - begin)
            wide = self._wide[: tile.models * count].reshape(tile.models, count)
            widen(self._numbers(tile, image, images, begin, count), wide, self._index)
            yield wide

    def _numbers(self, tile: Tile, image: int, images: range, begin: int, count: int) -> NDArray[np.float16]:
        """float16 [models, count] from the raw rows of the batch, which are read at its first stretch, or just these."""
        pixels = self.left.pixels
        if not self.plan.whole_rows:
            return self._read(tile, image * pixels + begin, count)
        if image == images.start and begin == 0:
            self._read(tile, image * pixels, len(images) * pixels)
        raw = self._raw[: tile.models * len(images) * pixels].reshape(tile.models, -1)
        first = (image - images.start) * pixels + begin
        return raw[:, first : first + count]

    def _read(self, tile: Tile, first: int, count: int) -> NDArray[np.float16]:
        raw = self._raw[: tile.models * count].reshape(tile.models, count)
        rows = tile.shape[0]
        self.left.read(tile.left, first, raw[:rows])
        if not tile.diagonal:
            (self.right or self.left).read(tile.right, first, raw[rows:])
        return raw


def _finished(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """In its own place: symmetric after its upper triangle, within [−1, 1], with the diagonal that the definition gives."""
    np.clip(mean, -1.0, 1.0, out=mean)
    for row in range(len(mean)):
        mean[row, row] = 1.0
        mean[row + 1 :, row] = mean[row, row + 1 :]
    return mean
