"""Probe images from a `.npy` array: images of any number of bands, and videos or volumes, whose frames become bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.errors import ProbeError
from onnxspace.inputs.bands import MAX_BANDS
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.storage.regular_files import map_array

_LARGEST, _SMALLEST = 224, 16  # pixels of a side where none is stated
_MOST_SIDE = 2**14
_MOST_BYTES = 2**33
_FORM = "[images, height, width, bands] or [videos, frames, height, width, channels]"
_AT_ONCE = 2**26  # values of a file that are looked at together
#: Numbers [height, width, bands] of one image.
Bands = NDArray[Any]


def is_array(path: Path) -> bool:
    """Whether `path` names an array of probe images rather than a folder of photos."""
    return path.suffix == ".npy"


def read_array(path: Path, choose: Callable[[int], Sequence[int]], size: int | None) -> tuple[str, NDArray[np.uint8]]:
    """Read probe images from the array `path`; returns its name and uint8 [images, size, size, bands].

    The array is [images, height, width, bands], or [videos, frames, height, width, channels], of which all channels of the first frame
    come before those of the second. `choose` returns the rows to read of so many. Images are centre-cropped to squares and resized to
    `size` pixels (None: 224, or the shorter side where that is smaller, at least 16). Bytes stay as they are; whole numbers are mapped
    from 0 to the largest in the file, floats from [0, 1] or [0, 255] where these hold all, else from the least to the largest. Raises
    ProbeError.
    """
    values = _open(path)
    low, high = find_range(path, values)
    chosen = list(choose(len(values)))
    side = find_side(values.shape[-3:-1]) if size is None else size
    bands = values.shape[-1] * (values.shape[1] if values.ndim == 5 else 1)
    refuse_many(path, len(chosen), side, bands)
    pixels = np.empty((len(chosen), side, side, bands), np.uint8)
    for target, row in zip(pixels, chosen, strict=True):
        target[:] = crop_bands(map_to_bytes(_join_frames(values[row]), low, high), side)
    return path.stem, pixels


def find_side(sides: Sequence[int]) -> int:
    """Return the side in pixels that images of such sides have where none is stated."""
    return min(_LARGEST, max(_SMALLEST, min(sides)))


def refuse_many(path: Path, images: int, side: int, bands: int) -> None:
    """Raise ProbeError where so many probe images of `side` pixels and `bands` bands would take too much memory."""
    if images * side * side * bands > _MOST_BYTES:
        raise ProbeError(
            f"{path}: {images} probe images of {side} pixels and {bands} bands are more than {_MOST_BYTES / 2**30:.0f} GiB. "
            "Use fewer with --images."
        )


def _open(path: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = map_array(path)
    except FileNotFoundError as error:
        raise ProbeError(
            f"{path}: {describe_missing_file(path, f'Give a folder of photos, or a .npy array {_FORM}.')}"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise ProbeError(f"{path} can't be read as an array ({error}). Save it with numpy.save.") from error
    fits = values.ndim in (4, 5) and values.dtype.kind in "fiu" and values.size > 0
    if fits and (axis := _find_early_channels(values.shape)) is not None:
        raise ProbeError(
            f"{path} holds {list(values.shape)}, whose channels seem to stand before its rows. Save it as {_FORM}, by "
            f"numpy.moveaxis(array, {axis}, -1)."
        )
    if not fits or max(values.shape[-3:-1]) > _MOST_SIDE:
        raise ProbeError(f"{path} holds {values.dtype} {list(values.shape)}. Save probe images as numbers {_FORM}.")
    if values.shape[-1] * (values.shape[1] if values.ndim == 5 else 1) > MAX_BANDS:
        raise ProbeError(f"{path} has more than {MAX_BANDS} bands, those of all frames together. Use fewer frames.")
    return values


def _find_early_channels(shape: tuple[int, ...]) -> int | None:
    """The axis that seems to have the channels instead of the last one, which is as long as an image's side; None where none does.

    >>> _find_early_channels((64, 3, 224, 224))
    1
    """
    if min(shape[-2:]) < _SMALLEST:
        return None
    return next((axis for axis in range(len(shape) - 3, 0, -1) if shape[axis] < _SMALLEST), None)


def find_range(path: Path, values: NDArray[Any]) -> tuple[float, float]:
    """The values that become 0 and 255, of all numbers of an array. Raises ProbeError for numbers that are not finite, or all equal."""
    if values.dtype == np.uint8:
        return 0.0, 255.0
    step = max(1, _AT_ONCE // max(1, values[0].size))
    ends = [(part.min(), part.max()) for start in range(0, len(values), step) for part in [values[start : start + step]]]
    return choose_range(
        path, float(min(low for low, _ in ends)), float(max(high for _, high in ends)), values.dtype.kind == "f"
    )


def choose_range(path: Path, low: float, high: float, floats: bool) -> tuple[float, float]:
    """The values that become 0 and 255 where `low` and `high` are the least and the largest. Raises ProbeError."""
    if not np.isfinite((low, high)).all() or low == high:
        why = "are all equal" if low == high else "are not finite"
        raise ProbeError(f"{path} holds numbers that {why}. Give probe images of finite numbers that differ.")
    if floats and low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    return min(low, 0.0) if not floats else low, high


def map_to_bytes(values: Bands, low: float, high: float) -> NDArray[np.uint8]:
    """Map numbers linearly so that `low` becomes 0 and `high` 255; bytes stay as they are."""
    if values.dtype == np.uint8:
        return np.asarray(values)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.asarray(np.rint(scaled).clip(0, 255), np.uint8)


def _join_frames(values: NDArray[Any]) -> Bands:
    """A video [frames, height, width, channels] as an image of all its channels; an image stays as it is."""
    if values.ndim == 3:
        return values
    moved = np.moveaxis(values, 0, 2)
    return moved.reshape(*moved.shape[:2], -1)


def crop_bands(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Crop the centre of an image [height, width, bands] to a square and resize each band as `probes.crop_square` does."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    planes = [Image.fromarray(np.ascontiguousarray(image[..., band])) for band in range(image.shape[2])]
    return np.stack([np.asarray(p.resize((size, size), Image.Resampling.BILINEAR, box=box), np.uint8) for p in planes], axis=2)


def count_bands(path: Path) -> int:
    """Return the number of bands of stored probe images, uint8 [images, size, size, bands]; 3 where the file holds anything else."""
    try:
        shape = map_array(path, follow=False).shape
    except (OSError, ValueError, EOFError):
        return 3
    return int(shape[3]) if len(shape) == 4 and 1 <= shape[3] <= MAX_BANDS else 3


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what is shown of an image [height, width, bands]: its first three bands, or the first as grey where it has fewer."""
    shown = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    return np.ascontiguousarray(shown)
