"""The order of the axes of a network's input, in the letters of a configuration's `layout`."""

from __future__ import annotations

from typing import Literal, get_args

from onnxspace.inputs.preprocess import Layout

#: N images, C channels, T frames of a video (or slices of a volume), H rows, W columns.
Axes = Literal["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW", "NCTHW", "NTCHW", "NTHWC"]
AXES: tuple[Axes, ...] = get_args(Axes)
MAX_FRAMES = 512


def plain_layout(axes: Axes) -> Layout:
    """Return the layout in which pixels are prepared before they are put into an input of other axes.

    >>> plain_layout("HWC")
    'NHWC'
    """
    return "NHWC" if axes in ("NHWC", "HWC") else "NCHW"
