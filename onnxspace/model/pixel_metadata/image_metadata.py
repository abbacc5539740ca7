"""ONNX's own metadata of images (`Image.BitmapPixelFormat` and others), and what Azure Custom Vision adds to it.

The standard: https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Color
from onnxspace.model.pixel_metadata.values import make_options, parse_list, parse_nonzero, parse_numbers, parse_side

_FORMAT, _RANGE, _GAMMA = "Image.BitmapPixelFormat", "Image.NominalPixelRange", "Image.ColorSpaceGamma"
_CUSTOM = "CustomVision.Preprocess."
_COLORS: dict[str, Color] = {"GRAY8": "GREY", "RGB8": "RGB", "RGBA8": "RGB", "BGR8": "BGR", "BGRA8": "BGR"}
#: Scale and mean by range: pixels as they are, in [0, 1], in [−1, 1], and in the range of video.
_RANGES = {
    "NOMINALRANGE_0_255": (1.0, 0.0), "NORMALIZED_0_1": (1 / 255, 0.0), "NORMALIZED_1_1": (1 / 127.5, 1.0),
    "NOMINALRANGE_16_235": (219 / 255, -16.0),
}  # fmt: skip


def read_image_metadata(metadata: Mapping[str, Any], where: str = "the file's metadata") -> ModelOptions:
    """The options that ONNX's image metadata and Custom Vision's state; none where there are no such entries.

    Raises ValueError for a word that the standard does not list, and for linear light, which no option can express.
    """
    entries = {str(key): str(value)[:1000] for key, value in metadata.items()}
    color = None if not entries.get(_FORMAT) else _find(_COLORS, entries, _FORMAT)
    size = _read_size(entries)
    if not entries.get(_RANGE):
        return make_options(where, color=color, size=size)
    if entries.get(_GAMMA, "").upper() == "LINEAR":
        raise ValueError(f"{_GAMMA} is Linear, but photos are in sRGB")
    scale, offset = _find(_RANGES, entries, _RANGE)
    mean, std = _read_normalisation(entries)
    shifted = tuple(offset + one for one in mean)
    return make_options(f"{_RANGE} in {where}", scale=scale, mean=shifted, std=std, color=color, size=size)


def _find(words: Mapping[str, Any], entries: Mapping[str, str], key: str) -> Any:
    if (word := entries[key].strip().upper()) not in words:
        raise ValueError(f"{key} has a value that the ONNX standard does not list")
    return words[word]


def _read_size(entries: Mapping[str, str]) -> tuple[int, int] | None:
    """Custom Vision's target size, in which 0 stands for none."""
    sides = [entries.get(f"{_CUSTOM}Target{side}", "0") for side in ("Height", "Width")]
    if "0" in sides:
        return None
    return parse_side(sides[0], "TargetHeight"), parse_side(sides[1], "TargetWidth")


def _read_normalisation(entries: Mapping[str, str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Custom Vision's mean and standard deviation, which it applies to pixels in their nominal range."""
    given = {name: entries.get(f"{_CUSTOM}{name}", "") for name in ("NormalizeMean", "NormalizeStd")}
    mean = parse_numbers(parse_list(given["NormalizeMean"] or "0", "NormalizeMean"), "NormalizeMean")
    return mean, parse_nonzero(parse_list(given["NormalizeStd"] or "1", "NormalizeStd"), "NormalizeStd")
