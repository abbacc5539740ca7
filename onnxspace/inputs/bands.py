"""Bands: which channels of the probe images go into which channels of a network that takes others than red, green and blue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.inputs.preprocess import Preprocess

#: The band that is the grey value of the first three.
GREY = -1
#: Names of bands in a configuration: those of photos.
NAMES = {"red": 0, "green": 1, "blue": 2, "grey": GREY}
MAX_BANDS = 4096  # channels of one image, those of all frames of a video counted


@dataclass(frozen=True)
class BandPreprocess(Preprocess):
    """Preprocessing of which channel k is the band `bands[k]` of the probe images, counted from 0; `color` does not apply.

    Of a video, all bands of the first frame come first, then those of the second: band b of frame t of C bands is band t · C + b.
    """

    bands: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Number of channels of the network's input."""
        return len(self.bands)

    def pixels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and select bands: uint8 [images, size, size, bands] → uint8 [images, height, width, channels]."""
        read = sorted(set(self.bands))
        drawn = np.zeros((len(images), self.height, self.width, len(read)), np.uint8)
        for target, image in zip(drawn, images, strict=True):
            for place, band in enumerate(read):
                self._draw_plane(_take_band(image, band), target[..., place])
        return drawn[..., [read.index(band) for band in self.bands]]

    def _draw_plane(self, plane: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        (top, bottom, probe_top, probe_bottom), (left, right, probe_left, probe_right) = self._windows(len(plane))
        box = (probe_left, probe_top, probe_right, probe_bottom)
        small = Image.fromarray(plane).resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
        target[top:bottom, left:right] = np.asarray(small)


def _take_band(image: NDArray[np.uint8], band: int) -> NDArray[np.uint8]:
    if band == GREY and image.shape[2] >= 3:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image[..., :3])).convert("L"))
    return np.ascontiguousarray(image[..., max(band, 0)])


def parse_band_names(value: Any) -> dict[str, int]:
    """Parse the names of the probe images' bands, in their order; the position of each by its name. Raises ValueError."""
    texts = [name for name in value if isinstance(name, str) and 0 < len(name) <= 100] if isinstance(value, list) else []
    if not 1 <= len(texts) <= MAX_BANDS or len(texts) < len(value):
        raise ValueError("bands must be a list of names, one for each band of the probe images")
    names = {name.lower(): place for place, name in enumerate(texts)}
    if len(names) < len(texts):
        raise ValueError("bands must have another name for each band of the probe images")
    return {"grey": GREY} | names


def parse_bands(value: Any, names: Mapping[str, int] = NAMES) -> tuple[int, ...]:
    """Parse a list of bands: numbers from 0, or `names` of bands. Raises ValueError.

    >>> parse_bands([3, "red"])
    (3, 0)
    """
    items = value if isinstance(value, list) else [value]
    bands = tuple(band for item in items if (band := _find_band(item, names)) is not None)
    if len(bands) < len(items) or not 1 <= len(bands) <= MAX_BANDS:
        raise ValueError(f"bands must be a list of numbers from 0, or of {', '.join(names)}, one for each channel")
    return bands


def _find_band(item: Any, names: Mapping[str, int]) -> int | None:
    if isinstance(item, str):
        return names.get(item.lower())
    return item if type(item) is int and 0 <= item < MAX_BANDS else None
