"""Named ways of turning pixels into a network's input, and where the choice of one for a model comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from typing import Literal

from onnxspace.inputs.preprocess import Color

#: Where a model's preprocessing comes from: the user; metadata in the file or beside it; evidence in its weights; habit.
Origin = Literal["stated", "read", "inferred", "guessed"]


@dataclass(frozen=True)
class PixelPreset:
    """Values of `x = (pixel · scale − mean) / std`, with pixels in 0–255, as `Preprocess` takes them.

    `mean` and `std` have one value, or three in the order of the network's channels; `color` is that order, None where the
    preset does not say.
    """

    scale: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    color: Color | None = None


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

#: Presets by name. ImageNet's statistics are those of torchvision, CLIP's those of OpenAI's release, Caffe's those of VGG,
#: those of CIFAR-10 and MNIST those of their training images.
PRESETS: dict[str, PixelPreset] = {
    "unit": PixelPreset(1 / 255),
    "symmetric": PixelPreset(1 / 127.5, (1.0,)),
    "byte": PixelPreset(1.0),
    "imagenet": PixelPreset(1 / 255, _IMAGENET_MEAN, _IMAGENET_STD, "RGB"),
    "imagenet-bgr-mean": PixelPreset(1.0, (103.939, 116.779, 123.68), (1.0,), "BGR"),
    "clip": PixelPreset(1 / 255, _CLIP_MEAN, _CLIP_STD, "RGB"),
    "cifar10": PixelPreset(1 / 255, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), "RGB"),
    "mnist": PixelPreset(1 / 255, (0.1307,), (0.3081,)),
    "inception": PixelPreset(1 / 127.5, (1.0,), (1.0,), "RGB"),
    "yolo": PixelPreset(1 / 255, (0.0,), (1.0,), "RGB"),
}
#: The preset that is guessed where nothing tells another one.
DEFAULT_PRESET = "symmetric"
#: Presets that are other names for the values of another one.
_ALIASES = frozenset({"inception", "yolo"})


def find_preset(name: str) -> PixelPreset:
    """Return the preset of that name. Raises KeyError where there is none."""
    return PRESETS[name]


def in_order(values: Sequence[float], order: Color | None, wanted: Color | None) -> tuple[float, ...]:
    """Values per channel in the order `order`, in the order `wanted`: reversed where one is RGB and the other BGR.

    >>> in_order((1.0, 2.0, 3.0), "RGB", "BGR")
    (3.0, 2.0, 1.0)
    """
    return tuple(reversed(values)) if {order, wanted} == {"RGB", "BGR"} else tuple(values)


def name_range(scale: float, mean: Sequence[float], std: Sequence[float], color: Color) -> str | None:
    """Return the name of the preset that maps pixels to the same values; None where there is none.

    `mean` and `std` are in the order `color`.

    >>> name_range(1.0, (127.5,), (127.5,), "RGB")
    'symmetric'
    """
    if {len(mean), len(std)} - {1, 3}:
        return None
    given = _lines(scale, mean, std)
    for name, preset in PRESETS.items():
        orders = (in_order(values, preset.color, color) for values in (preset.mean, preset.std))
        values = _lines(preset.scale, *orders)
        if name not in _ALIASES and all(isclose(a, b, rel_tol=1e-5, abs_tol=1e-9) for a, b in zip(values, given, strict=True)):
            return name
    return None


def describe_lines(scale: float, mean: Sequence[float], std: Sequence[float], color: Color | None) -> list[float]:
    """Slopes and intercepts of three channels in the order red, green, blue, for one or three values of each."""
    return _lines(scale, *(in_order(values, color or "RGB", "RGB") for values in (mean, std)))


def _lines(scale: float, mean: Sequence[float], std: Sequence[float]) -> list[float]:
    """Slopes and intercepts of three channels: what a pixel is multiplied by, and what is then subtracted."""
    means, stds = (tuple(values) * 3 if len(values) == 1 else tuple(values) for values in (mean, std))
    return [scale / one for one in stds] + [a / b for a, b in zip(means, stds, strict=True)]
