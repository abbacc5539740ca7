"""Tiling of a Gram matrix of files into pieces that fit in a given amount of memory.

What decides the last bit of a result is planned from the task and the memory alone, as if there were as many threads as the memory
allows: sizes of products, and which images are summed together. The number of processors decides only how many threads take these
pieces, and how much of a piece each of them reads at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from onnxspace.sandbox.processors import count_threads
from onnxspace.storage.float16 import CHUNK

#: Bytes a thread needs for an entry of a tile: product, cosine, and two partial sums, all float64, with some reserve.
_ENTRY = 40
#: Bytes of an entry for each further sum: of the batch that is being computed, and of the one before.
_SUMS = 16
#: Columns of one product, so that a stretch of the models roughly fits a core's cache.
_WIDTH = 4096
#: Models up to which float64 products cost little compared with widening; float32 sums have errors of about 3e-7 in one image,
#: and of 3e-6 where large maps have few distinct values.
_DOUBLE = 64
#: Bytes read of one file at once: enough for full disk speed.
_READ = 2**19
#: Images that are summed together: after each such block, progress is reported, and an interruption is noticed.
_MOST_BLOCK = 64
_LEAST, _PER_WORKER, _MOST_WORKERS = 2**20, 2**25, 16


@dataclass(frozen=True)
class Tile:
    """A range of models on the left against one on the right; `diagonal`: both are the same models."""

    left: slice
    right: slice
    diagonal: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.stop - self.left.start, self.right.stop - self.right.start

    @property
    def models(self) -> int:
        return self.shape[0] if self.diagonal else sum(self.shape)


@dataclass(frozen=True)
class TilePlan:
    """`total` models on each side (right None: the same as left) in tiles of at most `left` × `right` models.

    Each of `workers` threads holds float16 [models, read], numbers of `item` bytes [models, width] and `chunk` indices; it takes a
    `batch` of images, of which it reads `rows` at a time, as full rows where `whole_rows`, else stretch by stretch, and sums each
    `block` of them.
    """

    total: tuple[int, int | None]
    images: int
    workers: int
    left: int
    right: int
    models: int
    width: int
    read: int
    rows: int
    block: int
    batch: int
    chunk: int
    whole_rows: bool
    item: int


def plan_for(left: int, right: int | None, images: int, pixels: int, memory: int) -> TilePlan:
    """Plan the largest tiles of `left` × `right` models (right None: left with itself) that fit in `memory` bytes.

    Maps are [images, pixels]. Half of each thread's share of memory is for tiles, and half for maps.
    """
    most = max(1, min(_MOST_WORKERS, memory // _PER_WORKER, images))
    least_share, block = max(memory, _LEAST) // most, min(_MOST_BLOCK, -(-images // most))
    a, b = _tile_sides(left, right, least_share // 2 // _ENTRY)
    models = a if right is None and a == left else a + b
    item = 8 if models <= _DOUBLE else 4
    width = max(1, min(pixels, _WIDTH, _room(least_share) // ((2 + item) * models)))
    workers = min(count_cores(), most)
    share = max(memory, _LEAST) // workers
    once = max(1, _READ // (2 * pixels))
    batch = block * max(1, min(once // block, images // workers // block, 1 + (share // 2 // (a * b) - _ENTRY) // _SUMS))
    rows = min((_room(share) - item * models * width) // (2 * models * pixels), once, batch)
    read, rows, whole = (rows * pixels, rows, True) if rows > 0 else (width, 1, False)
    return TilePlan((left, right), images, workers, a, b, models, width, read, rows, block, batch, _chunk(share), whole, item)


def _room(share: int) -> int:
    """Bytes for maps of a thread that has a `share` of the memory."""
    return share // 2 - 8 * _chunk(share)


def _chunk(share: int) -> int:
    return min(CHUNK, share // 64)


def tiles_of(plan: TilePlan) -> Iterator[Tile]:
    """Iterate over tiles that cover every pair of models once: of a set with itself, those on and above the diagonal."""
    left, right = plan.total
    for top in range(0, left, plan.left):
        rows = slice(top, min(top + plan.left, left))
        for first in range(top if right is None else 0, left if right is None else right, plan.right):
            columns = slice(first, min(first + plan.right, left if right is None else right))
            yield Tile(rows, columns, right is None and rows == columns)


def image_batches(plan: TilePlan) -> Iterator[range]:
    """Iterate over all images in order, a batch at a time."""
    for start in range(0, plan.images, plan.batch):
        yield range(start, min(start + plan.batch, plan.images))


def count_cores() -> int:
    """Return the number of threads that may compare, at most 16: beyond that, reading is the bottleneck."""
    return min(count_threads(), _MOST_WORKERS)


def _tile_sides(left: int, right: int | None, entries: int) -> tuple[int, int]:
    side = max(1, math.isqrt(entries))
    if right is None:
        return min(left, side), min(left, side)
    return min(left, side), min(right, max(1, entries // min(left, side)))
