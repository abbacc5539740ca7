"""Inputs that are no batch of images with four axes: single images, grey ones, flattened ones, videos and volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxspace.inputs.axes import Axes, plain_layout
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Layout

#: Orders of axes as a configuration states them, and "NV" for flattened images.
InputAxes = Axes | Literal["NV"]
Sizes = Sequence[int | None]
_COLOURS = (1, 3)
_SMALLEST_SIDE = 8
_BY_RANK: dict[int, tuple[Axes, ...]] = {2: ("HW",), 3: ("CHW", "HWC", "NHW"), 5: ("NCTHW", "NTCHW", "NTHWC")}


@dataclass(frozen=True)
class FirstLayer:
    """The first node of a network that is not mere preprocessing, or the last that is: its operator, and for a convolution with stored
    weights their rank and the channels that it takes."""

    operator: str
    rank: int | None = None
    channels: int | None = None


@dataclass(frozen=True)
class ReadAxes:
    """What the axes of an input say: their order, the channels of one frame, and sizes, None where they are open.

    `layout` is the order in which pixels are prepared.
    """

    axes: InputAxes
    channels: int | None
    height: int | None
    width: int | None
    batch: int | None = 1
    frames: int | None = 1
    layout: Layout = "NCHW"


def read_axes(sizes: Sizes, first: FirstLayer | None, options: ModelOptions) -> ReadAxes | None:
    """Read an input of two, three or five axes with `sizes`, whose network begins with `first`; None where it is no image.

    `options` are the configured ones, which decide where they state `layout`, `bands` or `size`.
    """
    if len(sizes) == 2 and options.layout != "HW":
        return _read_flat(sizes, options) or _read_plane(sizes, first)
    axes = _stated_axes(sizes, options) or _find_axes(sizes, first, options)
    return None if axes is None else _name_sizes(axes, sizes, first)


def _stated_axes(sizes: Sizes, options: ModelOptions) -> Axes | None:
    return options.layout if options.layout in _BY_RANK.get(len(sizes), ()) else None


def _name_sizes(axes: Axes, sizes: Sizes, first: FirstLayer | None = None) -> ReadAxes:
    by = dict(zip(axes, sizes, strict=True))
    channels = by.get("C") or (None if first is None else first.channels) if "C" in by else 1
    return ReadAxes(axes, channels, by["H"], by["W"], by.get("N", 1), by.get("T", 1), plain_layout(axes))


def _read_flat(sizes: Sizes, options: ModelOptions) -> ReadAxes | None:
    """Flattened images: a square of grey pixels, or what `size` and `layout` state."""
    batch, values = sizes
    if values is None or (options.layout not in (None, "NCHW", "NHWC")):
        return None
    side = math.isqrt(values)
    height, width = options.size or (side, side)
    channels = values // (height * width)
    stated = options.size is not None and (channels == 1 or options.layout is not None)
    square = options.size is None and side >= _SMALLEST_SIDE and batch != values
    if channels * height * width != values or not (stated or square):
        return None
    return ReadAxes("NV", channels, height, width, batch, 1, plain_layout(options.layout or "NCHW"))


def _read_plane(sizes: Sizes, first: FirstLayer | None) -> ReadAxes | None:
    """One grey image of two axes."""
    height, width = sizes
    if height is None or width is None or min(height, width) < _SMALLEST_SIDE or first is None:
        return None
    planar = first.operator in ("Reshape", "Flatten") or (first.rank == 4 and first.channels == 1)
    return ReadAxes("HW", 1, height, width) if planar else None


def _find_axes(sizes: Sizes, first: FirstLayer | None, options: ModelOptions) -> Axes | None:
    if first is None or options.layout is not None:
        return None
    return _find_video(sizes, first, options) if len(sizes) == 5 else _find_image(sizes, first, options)


def _find_image(sizes: Sizes, first: FirstLayer, options: ModelOptions) -> Axes | None:
    """The axes of an input of three axes, if a layer for images follows: sequences have convolutions along one axis, or products."""
    flat = first.operator in ("Reshape", "Flatten")
    if first.rank != 4 and not flat:
        return None
    counts = _allowed_counts(first, options)
    if sizes[0] in counts and sizes[0] != 1:
        return "CHW"
    if sizes[2] in counts and sizes[2] != sizes[1]:
        return "HWC"
    square = sizes[1] is not None and sizes[1] == sizes[2]
    return "NHW" if (first.channels == 1 and not flat) or (flat and square) else None


def _find_video(sizes: Sizes, first: FirstLayer, options: ModelOptions) -> Axes | None:
    counts = _allowed_counts(first, options)
    places: dict[Axes, int] = {"NCTHW": 1, "NTCHW": 2, "NTHWC": 4}
    fits = [axes for axes, place in places.items() if sizes[place] in counts]
    direct = first.operator == "Conv" and first.rank == 5
    return fits[0] if len(fits) == 1 or (fits and direct) else None


def _allowed_counts(first: FirstLayer, options: ModelOptions) -> tuple[int, ...]:
    """Numbers of channels that an axis of them may have."""
    if options.bands is not None and not options.still:
        return (len(options.bands),)
    return _COLOURS if first.channels is None else (first.channels,)
