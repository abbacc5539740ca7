"""Images of more than 8 bits: one channel of 16-bit or 32-bit integers or of floats, mapped to 8 bits by the range that they use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TWELVE, _SIXTEEN = 4095, 65535
_FLOAT_RANGES = (1.0, 255.0, float(_SIXTEEN))


def is_deep(image: Image.Image) -> bool:
    """Whether an image has a channel of more than 8 bits that Pillow would clip to white."""
    return image.mode.startswith("I") or image.mode == "F"


def is_sixteen_bit(image: Image.Image) -> bool:
    """Whether an image has integers of more than 8 bits, whose range a whole folder decides."""
    return image.mode.startswith("I")


def largest_of(image: Image.Image) -> int:
    """The largest value of an image of integers."""
    return int(np.asarray(image, np.int64).max())


def choose_top(largest: int) -> int:
    """The value that becomes white where `largest` is the largest: 4095 where 12 bits hold it, else 65535, or `largest` above that."""
    return _TWELVE if largest <= _TWELVE else max(largest, _SIXTEEN)


def to_eight_bit(image: Image.Image, top: int | None = None) -> Image.Image:
    """Map a deep image to 8 bits; others are returned as they are.

    Integers 0 to `top` become 0 to 255; `top` is `choose_top` of the largest value of a folder (None: of this image), negative ones
    are black. Floats are mapped from [0, 1], [0, 255] or [0, 65535], the first of these that holds them, others from their own least
    and largest value. Raises ValueError for values that are not finite, or all equal.
    """
    if not is_deep(image):
        return image
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    if values.min() == values.max():
        raise ValueError("all of its values are equal")
    return Image.fromarray(_map_floats(values) if image.mode == "F" else _map_integers(values, top))


def _map_integers(values: NDArray[np.generic], top: int | None) -> NDArray[np.uint8]:
    whole = values.astype(np.int64)
    white = choose_top(int(whole.max())) if top is None else top
    mapped: NDArray[np.uint8] = (whole.clip(0, white) * 255 // white).astype(np.uint8)
    return mapped


def _map_floats(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    exact = values.astype(np.float64)
    low, high = float(exact.min()), float(exact.max())
    if low >= 0:
        low, high = 0.0, next((end for end in _FLOAT_RANGES if high <= end), high)
    mapped: NDArray[np.uint8] = np.rint((exact - low) / (high - low) * 255).astype(np.uint8)
    return mapped
