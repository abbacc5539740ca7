"""The gallery of a page: a few images, and how each model looks at them, as pictures of a bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.report.data_uri import data_uri, grey, limit_of
from onnxspace.storage.map_file import open_maps

#: Characters that all pictures of a page take at most, and their sides in pixels, the largest that fits being taken.
BUDGET = 5_000_000
SIDES = (224, 192, 160, 128, 112, 96, 80, 64, 48)
_QUALITY = 78
_AT_ONCE = 2**26  # pixels of maps that are held together


@dataclass(frozen=True, eq=False)
class Gallery:
    """`pictures` are data URIs of the images numbered `images` (from 0), None where the page's maker has no images.

    `tiles[m][i]` is the data URI of the map of model `models[m]` on image i, in grey from −`limit` (or 0, where maps are not
    `signed`) to `limit`, in units of the map's root mean square. `cosines` float64 [images, models, models] is how alike two
    models look at an image. `side` is in pixels, `total` the number of probe images.
    """

    images: tuple[int, ...]
    total: int
    pictures: tuple[str, ...] | None
    models: tuple[int, ...]
    tiles: tuple[tuple[str, ...], ...]
    cosines: NDArray[np.float64]
    limit: float
    signed: bool
    side: int


def gallery(
    maps: Sequence[Path | None], pictures: NDArray[np.uint8] | None, count: int, *, signed: bool, budget: int = BUDGET
) -> Gallery | None:
    """`count` images, evenly spaced, of all models that have a file of unit maps [images, pixels]; None where none has.

    `pictures` are the images, uint8 [images, size, size, 3]. Where the smallest pictures of all models take more than
    `budget`, the last models are left out.
    """
    models = [i for i, path in enumerate(maps) if path is not None]
    files = [path for path in maps if path is not None]
    if not files or count < 1:
        return None
    total, pixels = open_maps(files[0]).shape
    images, size = evenly(total, count), int(np.sqrt(pixels))
    room = _AT_ONCE / (len(files) * len(images))
    sides = [side for side in SIDES if side <= size and side**2 <= room] or [min(size, SIDES[-1])]
    for side in sides:
        shown = [_smaller(path, images, size, side) for path in files]
        limit = limit_of(np.stack(shown))
        tiles = _encoded(shown, limit, signed, budget)
        if tiles is not None:
            break
    else:
        tiles = _first(shown, limit, signed, budget)
    shots = None if pictures is None else tuple(data_uri(_shrunk(pictures[i], side)) for i in images)
    kept = len(tiles)
    return Gallery(
        tuple(images), total, shots, tuple(models[:kept]), tuple(tiles), _cosines(files[:kept], images), limit, signed, side
    )


def evenly(total: int, count: int) -> list[int]:
    """`count` of the numbers below `total`, spread evenly; all of them where there are no more."""
    return list(range(total)) if count >= total else [(2 * i + 1) * total // (2 * count) for i in range(count)]


def _smaller(path: Path, images: Sequence[int], size: int, side: int) -> NDArray[np.float32]:
    """Maps in units of their root mean square, float32 [images, side, side], averaged over what becomes one pixel."""
    rows = open_maps(path)[list(images)].astype(np.float32) * np.float32(size)
    return np.stack([_box(row.reshape(size, size), side) for row in rows])


def _box(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BOX), dtype=np.float32)


def _shrunk(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.Resampling.LANCZOS))


def _encoded(shown: Sequence[NDArray[np.float32]], limit: float, signed: bool, budget: int) -> list[tuple[str, ...]] | None:
    """All tiles, or None as soon as they will not fit: no picture is much smaller than another."""
    found: list[tuple[str, ...]] = []
    length = 0
    for done, values in enumerate(shown, 1):
        found.append(_row(values, limit, signed))
        length += sum(map(len, found[-1]))
        if length > budget or (done >= 5 and length * len(shown) > 1.3 * budget * done):
            return None
    return found


def _first(shown: Sequence[NDArray[np.float32]], limit: float, signed: bool, budget: int) -> list[tuple[str, ...]]:
    """The tiles of as many models as fit, one at least."""
    found: list[tuple[str, ...]] = []
    length = 0
    for values in shown:
        row = _row(values, limit, signed)
        length += sum(map(len, row))
        if found and length > budget:
            break
        found.append(row)
    return found


def _row(values: NDArray[np.float32], limit: float, signed: bool) -> tuple[str, ...]:
    return tuple(data_uri(picture, _QUALITY) for picture in grey(values, limit, signed=signed))


def _cosines(files: Sequence[Path], images: Sequence[int]) -> NDArray[np.float64]:
    found = np.empty((len(images), len(files), len(files)))
    for place, image in enumerate(images):
        rows: NDArray[Any] = np.stack([open_maps(path)[image] for path in files]).astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
        unit = rows / np.where(lengths > 0, lengths, 1.0)
        found[place] = np.clip(unit @ unit.T, -1.0, 1.0)
    return found
