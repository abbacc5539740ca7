"""Tiling of a Gram matrix of files into pieces that fit in a given amount of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from onnxspace.sandbox.processors import count_threads
from onnxspace.storage.float16 import CHUNK

#: Bytes a thread needs for an entry of a tile: product, cosine, and two partial sums, all float64, with some reserve.
_ENTRY = 40
#: Columns of one product, so that a stretch of the models roughly fits a core's cache.
_WIDTH = 4096
#: Models up to which float64 products cost little compared with widening; float32 sums have errors of about 3e-7 in one image,
#: and of 3e-6 where large maps have few distinct values.
_DOUBLE = 64
#: Bytes read of one file at once: enough for full disk speed.
_READ = 2**19
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

    Each of `workers` threads holds float16 [models, read], numbers of `item` bytes [models, width] and `chunk` indices; it
    processes `rows` images at a time, as full rows where `whole_rows`, else stretch by stretch.
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
    chunk: int
    whole_rows: bool
    item: int


def plan_for(left: int, right: int | None, images: int, pixels: int, memory: int) -> TilePlan:
    """Plan the largest tiles of `left` × `right` models (right None: left with itself) that fit in `memory` bytes.

    Maps are [images, pixels]. Half of each thread's share of memory is for tiles, and half for maps.
    """
    workers = max(1, min(count_cores(), memory // _PER_WORKER, images))
    share = max(memory, _LEAST) // workers
    a, b = _tile_sides(left, right, share // 2 // _ENTRY)
    models = a if right is None and a == left else a + b
    chunk = min(CHUNK, share // 64)
    room = share // 2 - 8 * chunk
    item = 8 if models <= _DOUBLE else 4
    width = max(1, min(pixels, _WIDTH, room // ((2 + item) * models)))
    rows = min((room - item * models * width) // (2 * models * pixels), max(1, _READ // (2 * pixels)), -(-images // workers))
    read = rows * pixels if rows > 0 else width
    return TilePlan((left, right), images, workers, a, b, models, width, read, max(1, rows), chunk, rows > 0, item)


def tiles_of(plan: TilePlan) -> Iterator[Tile]:
    """Iterate over tiles that cover every pair of models once: of a set with itself, those on and above the diagonal."""
    left, right = plan.total
    for top in range(0, left, plan.left):
        rows = slice(top, min(top + plan.left, left))
        for first in range(top if right is None else 0, left if right is None else right, plan.right):
            columns = slice(first, min(first + plan.right, left if right is None else right))
            yield Tile(rows, columns, right is None and rows == columns)


def image_batches(plan: TilePlan) -> Iterator[range]:
    """Iterate over all images in order, `rows` at a time."""
    for start in range(0, plan.images, plan.rows):
        yield range(start, min(start + plan.rows, plan.images))


def count_cores() -> int:
    """Return the number of threads that may compare, at most 16: beyond that, reading is the bottleneck."""
    return min(count_threads(), _MOST_WORKERS)


def _tile_sides(left: int, right: int | None, entries: int) -> tuple[int, int]:
    side = max(1, math.isqrt(entries))
    if right is None:
        return min(left, side), min(left, side)
    return min(left, side), min(right, max(1, entries // min(left, side)))
