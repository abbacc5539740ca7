"""Images of several bands, one per file: TIFF files, and `.npy` arrays [height, width, bands] or [1, height, width, bands]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.inputs.arrays import choose_range, crop_bands, find_side, is_array, map_to_bytes, refuse_many
from onnxspace.inputs.band_tiff import open_band_tiff, read_values
from onnxspace.inputs.bands import MAX_BANDS
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.storage.regular_files import map_array

_MOST_SIDE = 2**14


def has_bands(path: Path) -> bool:
    """Whether a file holds bands rather than a photo: an array, or a TIFF file of several bands. Raises ProbeError."""
    return is_array(path) or open_band_tiff(path) is not None


def load_bands(path: Path, bands: int | None = None) -> NDArray[Any]:
    """Load the numbers of one image, [height, width, bands]; `bands` is the number that it must have (None: any). Raises ProbeError."""
    values = _load_array(path) if is_array(path) else _load_tiff(path)
    if values is None or bands not in (None, values.shape[2]):
        raise ProbeError(
            f"{path} has another number of bands than the first image, {bands}. Remove it from the images, or give it alone."
        )
    return values


def _load_tiff(path: Path) -> NDArray[Any] | None:
    found = open_band_tiff(path)
    return None if found is None else read_values(found)


def _load_array(path: Path) -> NDArray[Any]:
    try:
        values = map_array(path)
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: {describe_missing_file(path)}") from error
    except (OSError, ValueError, EOFError) as error:
        raise ProbeError(f"{path} can't be read as an array ({error}). Save it with numpy.save.") from error
    one = values[0] if values.ndim == 4 and len(values) == 1 else values
    if (
        one.ndim != 3
        or one.dtype.kind not in "fiu"
        or not one.size
        or max(one.shape[:2]) > _MOST_SIDE
        or one.shape[2] > MAX_BANDS
    ):
        raise ProbeError(f"{path} holds {values.dtype} {list(values.shape)}. Save one image as numbers [height, width, bands].")
    return np.asarray(one)


@dataclass(frozen=True)
class BandReader:
    """Reads files of equal numbers of `bands` as bytes: `low` becomes 0 and `high` 255, except for bytes, which stay as they are."""

    bands: int
    low: float
    high: float
    side: int

    @classmethod
    def of(cls, files: Sequence[Path]) -> BandReader:
        """The reader of `files`, whose range is that of all their numbers. Raises ProbeError."""
        bands = load_bands(files[0]).shape[2]
        facts = [_describe(load_bands(path, bands)) for path in files]
        lows, highs, kinds, sides = zip(*facts, strict=True)
        if set(kinds) == {"u1"}:
            return cls(bands, 0.0, 255.0, max(sides))
        low, high = choose_range(files[0].parent, min(lows), max(highs), any(kind[0] == "f" for kind in kinds))
        return cls(bands, low, high, max(sides))

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Read one image at its own size, uint8 [height, width, bands]. Raises ProbeError."""
        return map_to_bytes(load_bands(path, self.bands), self.low, self.high)

    def crop(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Crop an image to a square of `size` pixels."""
        return crop_bands(image, size)


def _describe(values: NDArray[Any]) -> tuple[float, float, str, int]:
    return float(values.min()), float(values.max()), values.dtype.str[1:], find_side(values.shape[:2])


def read_band_images(files: Sequence[Path], size: int | None) -> NDArray[np.uint8]:
    """Read files of equal numbers of bands as probe images: uint8 [images, size, size, bands], cropped and resized as arrays are.

    Whole numbers of more than 8 bits are mapped from 0 to the largest of all files, floats as `arrays.choose_range` says. Raises ProbeError.
    """
    reader = BandReader.of(files)
    side = reader.side if size is None else size
    refuse_many(files[0].parent, len(files), side, reader.bands)
    pixels = np.empty((len(files), side, side, reader.bands), np.uint8)
    for target, path in zip(pixels, files, strict=True):
        target[:] = crop_bands(reader.read(path), side)
    return pixels
