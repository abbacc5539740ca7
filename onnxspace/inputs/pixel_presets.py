"""Named ways of turning pixels into a network's input, and where the choice of one for a model comes from."""

from __future__ import annotations

from dataclasses import dataclass
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

#: Presets by name. ImageNet's statistics are those of torchvision, CLIP's those of OpenAI's release, Caffe's those of VGG.
PRESETS: dict[str, PixelPreset] = {
    "unit": PixelPreset(1 / 255),
    "symmetric": PixelPreset(1 / 127.5, (1.0,)),
    "byte": PixelPreset(1.0),
    "imagenet": PixelPreset(1 / 255, _IMAGENET_MEAN, _IMAGENET_STD, "RGB"),
    "imagenet-bgr-mean": PixelPreset(1.0, (103.939, 116.779, 123.68), (1.0,), "BGR"),
    "clip": PixelPreset(1 / 255, _CLIP_MEAN, _CLIP_STD, "RGB"),
    "inception": PixelPreset(1 / 127.5, (1.0,), (1.0,), "RGB"),
    "yolo": PixelPreset(1 / 255, (0.0,), (1.0,), "RGB"),
}
