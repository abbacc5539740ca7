"""Other ways to feed a network: where one of them brings the old answers back, that is what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from onnxspace.inputs.preprocess import Preprocess

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _swapped(p: Preprocess) -> Preprocess | None:
    if p.color == "GREY":
        return None
    turned = replace(p, color="BGR" if p.color == "RGB" else "RGB")
    return turned if len(p.mean) == 1 and len(p.std) == 1 else replace(turned, mean=p.mean[::-1], std=p.std[::-1])


def _ranged(scale: float, mean: float) -> Callable[[Preprocess], Preprocess]:
    return lambda p: replace(p, scale=scale, mean=(mean,), std=(1.0,))


def _imagenet(p: Preprocess) -> Preprocess | None:
    if p.color == "GREY":
        return None
    mean, std = (values if p.color == "RGB" else values[::-1] for values in _IMAGENET)
    return replace(p, scale=1 / 255, mean=mean, std=std)


#: What a change is called in a verdict, and the change.
VARIANTS: Mapping[str, Callable[[Preprocess], Preprocess | None]] = {
    "its channels are in another order (RGB and BGR are swapped)": _swapped,
    "it takes pixels from −1 to 1: its own rescaling is gone, or new": _ranged(1 / 127.5, 1.0),
    "it takes pixels from 0 to 1: its own rescaling is gone, or new": _ranged(1 / 255, 0.0),
    "it takes pixels from 0 to 255: its own rescaling is gone, or new": _ranged(1.0, 0.0),
    "it takes pixels normalised by ImageNet's mean and deviation: its own normalisation is gone, or new": _imagenet,
}
