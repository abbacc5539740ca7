"""Comparison of images: reads files of maps in pieces and computes the Gram matrix of each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.similarity.tiling import Tile, TilePlan
from onnxspace.storage.float16 import widen
from onnxspace.storage.map_file import open_maps
from onnxspace.storage.regular_files import open_regular

#: Receives the result of one image: its number, the tile, and the cosines, float64 [left, right].
Sink = Callable[[int, Tile, NDArray[np.float64]], None]


@dataclass(frozen=True)
class MapFiles:
    """Files of maps of one shape [images, pixels]: `starts` are the byte offsets of their numbers."""

    paths: tuple[Path, ...]
    starts: tuple[int, ...]
    images: int
    pixels: int

    @classmethod
    def open(cls, files: Sequence[Path]) -> MapFiles:
        """Read the layout of `files`. Raises ProbeError for files that are not maps, or of different shapes."""
        found = [_read_layout(path) for path in files]
        shapes = {shape for shape, _ in found}
        if len(shapes) != 1:
            raise ProbeError(f"maps of different probe images can't be compared: shapes {sorted(shapes)}")
        return cls(tuple(files), tuple(start for _, start in found), *shapes.pop())

    def part(self, first: int, last: int) -> MapFiles:
        """Return the files `first` to `last` (exclusive)."""
        return MapFiles(self.paths[first:last], self.starts[first:last], self.images, self.pixels)

    def read(self, models: slice, first: int, out: NDArray[np.float16]) -> None:
        """Fill `out`, float16 [models, count], with the numbers of the files `models`, from position `first` on.

        Raises ProbeError for a truncated file.
        """
        for path, start, row in zip(self.paths[models], self.starts[models], out, strict=True):
            room = memoryview(row).cast("B")
            with open_regular(path) as file:
                file.seek(start + 2 * first)
                while room and (count := file.readinto(room)):
                    room = room[count:]
            if room:
                raise ProbeError(f"The maps in {path} are truncated; make the file again.")


def _read_layout(path: Path) -> tuple[tuple[int, int], int]:
    try:
        maps: Any = open_maps(path)
    except (ValueError, EOFError, BadZipFile) as error:
        raise ProbeError(f"{path} holds no readable maps ({error}); make it again.") from error
    if not isinstance(maps, np.memmap):
        raise ProbeError(f"{path} is an archive; maps are float16 [images, pixels] in one .npy file.")
    if maps.ndim != 2 or maps.dtype != np.float16 or not maps.flags.c_contiguous:
        raise ProbeError(
            f"{path} holds {maps.dtype} of shape {maps.shape}; maps are float16 [images, pixels] in row-major order."
        )
    return (int(maps.shape[0]), int(maps.shape[1])), int(maps.offset)


class TileWorker:
    """The buffers of one thread: a tile's raw numbers, a widened stretch of one image, and its Gram matrix."""

    def __init__(self, plan: TilePlan, left: MapFiles, right: MapFiles | None) -> None:
        self.plan, self.left, self.right = plan, left, right
        self._raw = np.empty(plan.models * plan.read, np.float16)
        self._wide = np.empty(plan.models * plan.width, f"f{plan.item}")
        self._index = np.empty(plan.chunk, np.intp)
        self._product = np.empty(plan.left * plan.right, f"f{plan.item}")
        self._cosines = np.empty(plan.left * plan.right)

    def batch(self, tile: Tile, images: range, sink: Sink | None) -> list[NDArray[np.float64]]:
        """Sum the cosines of each block of `images`, float64 [left, right]; `sink` receives those of each image."""
        totals = [np.zeros(tile.shape) for _ in range(0, len(images), self.plan.block)]
        for first in range(images.start, images.stop, self.plan.rows):
            read = range(first, min(first + self.plan.rows, images.stop))
            for image in read:
                cosines = self._image_cosines(tile, image, read)
                totals[(image - images.start) // self.plan.block] += cosines
                if sink is not None:
                    sink(image, tile, cosines)
        return totals

    def _image_cosines(self, tile: Tile, image: int, images: range) -> NDArray[np.float64]:
        """Cosines of one image, float64 [left, right], in a buffer that the next image reuses."""
        rows, columns = tile.shape
        cosines, squares = self.gram(tile, self._read_stretches(tile, image, images))
        scale = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))
        cosines *= scale[:rows, None]
        cosines *= scale[-columns:]
        return cosines

    def gram(self, tile: Tile, stretches: Iterator[NDArray[np.float16]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute products of rows, float64 [left, right], and squared lengths, float64 [models], summed over `stretches`."""
        rows, columns = tile.shape
        product = self._product[: rows * columns].reshape(tile.shape)
        total = self._cosines[: rows * columns].reshape(tile.shape)
        total[:] = 0
        squares = np.zeros(tile.models)
        for half in stretches:
            wide = self._wide[: half.size].reshape(half.shape)
            widen(half, wide, self._index)
            np.matmul(wide[:rows], wide[-columns:].T, out=product)  # half the work where both are the same array
            total += product
            squares += product.diagonal() if tile.diagonal else np.einsum("ij,ij->i", wide, wide)
        return total, squares

    def _read_stretches(self, tile: Tile, image: int, images: range) -> Iterator[NDArray[np.float16]]:
        """One image of the tile's models as stored, float16 [models, width], stretch by stretch."""
        pixels, step = self.left.pixels, self.plan.width
        for begin in range(0, pixels, step):
            yield self._read_numbers(tile, image, images, begin, min(step, pixels - begin))

    def _read_numbers(self, tile: Tile, image: int, images: range, begin: int, count: int) -> NDArray[np.float16]:
        """float16 [models, count]: from the batch's raw rows, read at its first stretch, or else only these numbers."""
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
