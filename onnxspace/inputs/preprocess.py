"""Preprocessing: from probe images to a network's input, and from its maps back to the size of the probe images.

Images are resized as 8-bit pixels with Pillow's bilinear filter, whose integer arithmetic gives a network the same pixels in every
layout and on every platform. Maps are resized with one matrix per axis, on the device that computed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Layout = Literal["NCHW", "NHWC"]
Color = Literal["RGB", "BGR", "GREY"]
Resize = Literal["squash", "crop", "pad"]


@dataclass(frozen=True)
class Preprocess:
    """How pixels become a network's input: `x = (pixel · scale − mean) / std`, with pixels in 0–255.

    `height` and `width` are in pixels; `layout` is the order of the input's axes, `color` that of its channels. `resize` says how a
    square probe image is fitted to `height × width`: `squash` stretches it, `crop` cuts its centre to the network's aspect ratio,
    `pad` fits it in and fills the rest with black. `mean` and `std` have one value, or one per channel in the network's channel
    order. The default range is [−1, 1].
    """

    height: int
    width: int
    layout: Layout = "NCHW"
    color: Color = "RGB"
    resize: Resize = "squash"
    scale: float = 1 / 127.5
    mean: tuple[float, ...] = (1.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def channels(self) -> int:
        """Number of channels of the network's input."""
        return 1 if self.color == "GREY" else 3

    def pixels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and convert colours: uint8 [images, size, size, 3] → uint8 [images, height, width, channels]."""
        out = np.zeros((len(images), self.height, self.width, self.channels), np.uint8)
        for target, image in zip(out, images, strict=True):
            self._draw(Image.fromarray(image), target)
        return out

    def _draw(self, image: Image.Image, target: NDArray[np.uint8]) -> None:
        (top, bottom, probe_top, probe_bottom), (left, right, probe_left, probe_right) = self._windows(image.height)
        box = (probe_left, probe_top, probe_right, probe_bottom)
        colored = image.convert("L") if self.color == "GREY" else image
        small = np.asarray(colored.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box))
        drawn = small.reshape(bottom - top, right - left, self.channels)
        target[top:bottom, left:right] = drawn[..., ::-1] if self.color == "BGR" else drawn

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scale pixels, uint8 [images, height, width, channels], to the network's input, float32 in its layout."""
        images, height, width, channels = pixels.shape
        first = self.layout == "NCHW"
        out = np.empty((images, channels, height, width) if first else pixels.shape, np.float32)
        for channel, table in enumerate(self._tabulate(channels)):
            target = out[:, channel] if first else out[..., channel]
            np.take(table, pixels[..., channel], out=target, mode="clip")  # "raise" would fill a buffer first
        return out

    def _tabulate(self, channels: int) -> NDArray[np.float32]:
        """The network's value of each of the 256 pixel values: float32 [channels, 256]."""
        scaled = (np.arange(256.0)[:, None] * self.scale - np.asarray(self.mean)) / np.asarray(self.std)
        return np.broadcast_to(scaled, (256, channels)).T.astype(np.float32)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert images, uint8 [images, size, size, 3], to the network's input, float32 in its layout."""
        return self.values(self.pixels(images))

    def inverse(self, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the matrices that resize maps to probe images of side `size` pixels.

        They are `rows` [size, height] and `columns` [size, width], float64: `rows @ map @ columnsᵀ` is the resized map.
        """
        vertical, horizontal = self._windows(size)
        return _place_resize_matrix(self.height, size, *vertical), _place_resize_matrix(self.width, size, *horizontal)

    def _windows(self, size: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """Per axis, the corresponding intervals: start and end in the network's input, start and end in the probe image."""
        whole = (0, self.height, 0, size), (0, self.width, 0, size)
        if self.resize == "squash" or self.height == self.width:
            return whole
        if self.resize == "crop":
            scale = size / max(self.height, self.width)
            return (0, self.height, *_centre(self.height * scale, size)), (0, self.width, *_centre(self.width * scale, size))
        side = min(self.height, self.width)
        return (*_centre(side, self.height), 0, size), (*_centre(side, self.width), 0, size)


def _centre(length: float, whole: int) -> tuple[int, int]:
    inner = max(1, round(length))
    start = (whole - inner) // 2
    return start, start + inner


def _place_resize_matrix(inputs: int, size: int, start: int, end: int, probe_start: int, probe_end: int) -> NDArray[np.float64]:
    matrix = np.zeros((size, inputs))
    matrix[probe_start:probe_end, start:end] = resize_matrix(end - start, probe_end - probe_start)
    return matrix


def resize_matrix(source: int, target: int) -> NDArray[np.float64]:
    """Return the matrix, float64 [target, source], of bilinear resizing along one axis, antialiased when shrinking.

    The filter is that of Pillow's `BILINEAR`: a triangle over the source whose half-width is `max(1, source / target)` pixels,
    centred on the target pixel and normalised at the borders. Rows sum to one.

    >>> resize_matrix(2, 1).tolist()
    [[0.5, 0.5]]
    """
    ratio = source / target
    reach = max(1.0, ratio)
    centres = (np.arange(target) + 0.5) * ratio
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / reach)
    matrix: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return matrix
