"""Where images are compared: files of maps are read in pieces, and each image's Gram matrix is made of them."""

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

#: What is made of one image: its number, its tile, and the cosines float64 [left, right].
Sink = Callable[[int, Tile, NDArray[np.float64]], None]


@dataclass(frozen=True)
class Maps:
    """Files of maps of one shape: where they are, where their numbers begin, and how many there are."""

    paths: tuple[Path, ...]
    starts: tuple[int, ...]
    images: int
    pixels: int

    @classmethod
    def opened(cls, files: Sequence[Path]) -> Maps:
        found = [_described(path) for path in files]
        shapes = {shape for shape, _ in found}
        if len(shapes) != 1:
            raise ProbeError(f"maps of different probe sets can't be compared: shapes {sorted(shapes)}")
        return cls(tuple(files), tuple(start for _, start in found), *shapes.pop())

    def part(self, first: int, last: int) -> Maps:
        return Maps(self.paths[first:last], self.starts[first:last], self.images, self.pixels)

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


class TileWorker:
    """The room one thread works in: raw numbers of a tile's models, a stretch of one image widened, its Gram matrix."""

    def __init__(self, plan: TilePlan, left: Maps, right: Maps | None) -> None:
        self.plan, self.left, self.right = plan, left, right
        self._raw = np.empty(plan.models * plan.read, np.float16)
        self._wide = np.empty(plan.models * plan.width, f"f{plan.item}")
        self._index = np.empty(plan.chunk, np.intp)
        self._product = np.empty(plan.left * plan.right, f"f{plan.item}")
        self._cosines = np.empty(plan.left * plan.right)

    def batch(self, tile: Tile, images: range, sink: Sink | None) -> NDArray[np.float64]:
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
        cosines, squares = self.gram(tile, self._stretches(tile, image, images))
        scale = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))
        cosines *= scale[:rows, None]
        cosines *= scale[-columns:]
        return cosines

    def gram(self, tile: Tile, stretches: Iterator[NDArray[np.float16]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Products of the rows, float64 [left, right], and each row's square, float64 [models], summed over the stretches."""
        rows, columns = tile.shape
        product = self._product[: rows * columns].reshape(tile.shape)
        total = self._cosines[: rows * columns].reshape(tile.shape)
        total[:] = 0
        squares = np.zeros(tile.models)
        for half in stretches:
            wide = self._wide[: half.size].reshape(half.shape)
            widen(half, wide, self._index)
            np.matmul(wide[:rows], wide[-columns:].T, out=product)  # of an array with itself: half the work
            total += product
            squares += product.diagonal() if tile.diagonal else np.einsum("ij,ij->i", wide, wide)
        return total, squares

    def _stretches(self, tile: Tile, image: int, images: range) -> Iterator[NDArray[np.float16]]:
        """One image of the tile's models as stored, float16 [models, width], stretch by stretch."""
        pixels, step = self.left.pixels, self.plan.width
        for begin in range(0, pixels, step):
            yield self._numbers(tile, image, images, begin, min(step, pixels - begin))

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
