"""The gallery of a page: a few images and each model's maps of them, as pictures of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.inputs.arrays import to_rgb
from onnxspace.report.data_uri import data_uri, limit_of, to_grey
from onnxspace.storage.map_file import open_maps

#: Largest number of characters of all pictures of a page, and their possible sides in pixels; the largest that fits is used.
BUDGET = 5_000_000
SIDES = (224, 192, 160, 128, 112, 96, 80, 64, 48)
_QUALITY = 78
_AT_ONCE = 2**26  # pixels of maps held in memory at once


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures of images and maps.

    `images` are indices of probe images, `pictures` their data URIs, None where the images are not available. `tiles[m][i]` is
    the data URI of the map of model `models[m]` on image i, in grey from −`limit` (or 0, where maps are not `signed`) to
    `limit`, in units of the map's root mean square. `cosines` float64 [images, models, models] are those of two models' maps of
    an image. `side` is the pictures' side in pixels, `total` the number of probe images.
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


def make_gallery(
    maps: Sequence[Path | None], pictures: NDArray[np.uint8] | None, count: int, *, signed: bool, budget: int = BUDGET
) -> Gallery | None:
    """Make a gallery of `count` evenly spaced images; None where no model has maps.

    `maps` are files of unit maps [images, pixels] by model, None for a model without maps; `signed` says whether maps have a
    sign. `pictures` are the images, uint8 [images, size, size, bands], where available. Where the smallest pictures of all models
    take more than `budget` characters, the last models are left out.
    """
    models = [i for i, path in enumerate(maps) if path is not None]
    files = [path for path in maps if path is not None]
    if not files or count < 1:
        return None
    total, pixels = open_maps(files[0]).shape
    images, size = spread_evenly(total, count), int(np.sqrt(pixels))
    room = _AT_ONCE / (len(files) * len(images))
    sides = [side for side in SIDES if side <= size and side**2 <= room] or [min(size, SIDES[-1])]
    for side in sides:
        shown = [_downscale_maps(path, images, size, side) for path in files]
        limit = limit_of(np.stack(shown))
        tiles = _encode_tiles(shown, limit, signed, budget)
        if tiles is not None:
            break
    else:
        tiles = _encode_first(shown, limit, signed, budget)
    shots = None if pictures is None else tuple(data_uri(_shrink(pictures[i], side)) for i in images)
    kept = len(tiles)
    return Gallery(
        tuple(images), total, shots, tuple(models[:kept]), tuple(tiles), _cosines(files[:kept], images), limit, signed, side
    )


def spread_evenly(total: int, count: int) -> list[int]:
    """`count` of the numbers below `total`, evenly spaced; all of them where there are no more."""
    return list(range(total)) if count >= total else [(2 * i + 1) * total // (2 * count) for i in range(count)]


def _downscale_maps(path: Path, images: Sequence[int], size: int, side: int) -> NDArray[np.float32]:
    """Maps in units of their root mean square, downscaled by averaging to float32 [images, side, side]."""
    rows = open_maps(path)[list(images)].astype(np.float32) * np.float32(size)
    return np.stack([_box_resize(row.reshape(size, size), side) for row in rows])


def _box_resize(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BOX), dtype=np.float32)


def _shrink(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(to_rgb(picture)).resize((side, side), Image.Resampling.LANCZOS))


def _encode_tiles(
    shown: Sequence[NDArray[np.float32]], limit: float, signed: bool, budget: int
) -> list[tuple[str, ...]] | None:
    """Encode all tiles; None as soon as they are bound to exceed `budget`, all being of similar length."""
    found: list[tuple[str, ...]] = []
    length = 0
    for done, values in enumerate(shown, 1):
        found.append(_encode_row(values, limit, signed))
        length += sum(map(len, found[-1]))
        if length > budget or (done >= 5 and length * len(shown) > 1.3 * budget * done):
            return None
    return found


def _encode_first(shown: Sequence[NDArray[np.float32]], limit: float, signed: bool, budget: int) -> list[tuple[str, ...]]:
    """Encode the tiles of as many models as fit into `budget`, at least one."""
    found: list[tuple[str, ...]] = []
    length = 0
    for values in shown:
        row = _encode_row(values, limit, signed)
        length += sum(map(len, row))
        if found and length > budget:
            break
        found.append(row)
    return found


def _encode_row(values: NDArray[np.float32], limit: float, signed: bool) -> tuple[str, ...]:
    return tuple(data_uri(picture, _QUALITY) for picture in to_grey(values, limit, signed=signed))


def _cosines(files: Sequence[Path], images: Sequence[int]) -> NDArray[np.float64]:
    found = np.empty((len(images), len(files), len(files)))
    for place, image in enumerate(images):
        rows: NDArray[Any] = np.stack([open_maps(path)[image] for path in files]).astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
        unit = rows / np.where(lengths > 0, lengths, 1.0)
        found[place] = np.clip(unit @ unit.T, -1.0, 1.0)
    return found
