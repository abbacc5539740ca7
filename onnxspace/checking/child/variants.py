"""Changes of preprocessing: if one of them restores the old outputs, it is what changed in the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from onnxspace.inputs.preprocess import Preprocess

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _swap_channels(p: Preprocess) -> Preprocess | None:
    if p.color == "GREY":
        return None
    turned = replace(p, color="BGR" if p.color == "RGB" else "RGB")
    return turned if len(p.mean) == 1 and len(p.std) == 1 else replace(turned, mean=p.mean[::-1], std=p.std[::-1])


def _set_range(scale: float, mean: float) -> Callable[[Preprocess], Preprocess]:
    return lambda p: replace(p, scale=scale, mean=(mean,), std=(1.0,))


def _use_imagenet(p: Preprocess) -> Preprocess | None:
    if p.color == "GREY":
        return None
    mean, std = (values if p.color == "RGB" else values[::-1] for values in _IMAGENET)
    return replace(p, scale=1 / 255, mean=mean, std=std)


#: Changes of preprocessing by the words for them in a verdict.
VARIANTS: Mapping[str, Callable[[Preprocess], Preprocess | None]] = {
    "its colour channels are in another order (RGB and BGR are swapped)": _swap_channels,
    "it expects pixels from −1 to 1 (a rescaling was added or removed)": _set_range(1 / 127.5, 1.0),
    "it expects pixels from 0 to 1 (a rescaling was added or removed)": _set_range(1 / 255, 0.0),
    "it expects pixels from 0 to 255 (a rescaling was added or removed)": _set_range(1.0, 0.0),
    "it expects pixels normalised by ImageNet's mean and standard deviation (a normalisation was added or removed)": _use_imagenet,
}
