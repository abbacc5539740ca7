"""Maps at successive layers as the frames of an animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxspace.report.explanation import Explanation
from onnxspace.report.gallery import find_scales, label_layers, make_figure

#: Milliseconds of a frame, and of the last one.
_FRAME, _LAST = 700, 2000


def write_animation(found: Explanation, path: Path, suffix: str, *, overlay: bool = False) -> None:
    """Write an animation to `path`, of the format of `suffix` (.gif, .webp, .apng): a frame per column, which are layers.

    Each frame has all images beside their maps, the layer's name and its place; all maps share one colour scale.
    """
    frames = draw_frames(found, overlay=overlay)
    times = [_FRAME] * (len(frames) - 1) + [_LAST]
    shared = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0}
    if suffix == ".webp":
        frames[0].save(path, format="WEBP", quality=88, method=4, **shared)
    elif suffix == ".apng":
        frames[0].save(path, format="PNG", **shared)
    else:
        _reduce(frames)[0].save(path, format="GIF", **{**shared, "append_images": _reduce(frames)[1:]}, optimize=False)


def draw_frames(found: Explanation, *, overlay: bool) -> list[Image.Image]:
    """Draw a picture of one size for each column."""
    maps = [column.scaled() for column in found.columns]
    scales = find_scales(found.columns, maps)
    frames = []
    for column, values, label in zip(found.columns, maps, label_layers(found.columns), strict=True):
        figure = make_figure(replace(found, columns=(column,)), [values], scales, overlay=overlay, labels=[label])
        frames.append(_render(figure.canvas))
    return frames


def _render(canvas: Any) -> Image.Image:
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _reduce(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The frames in 256 colours, the same for all, without the flicker of a palette for each."""
    strip = Image.fromarray(np.concatenate([np.asarray(frame)[::2, ::2] for frame in frames]))
    palette = strip.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
