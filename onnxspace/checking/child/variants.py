"""Changes of preprocessing: if one of them restores the old outputs, it is what changed in the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.child.front import find_front, inner_steps, without_front
from onnxspace.checking.child.input_range import fed_as
from onnxspace.checking.child.signals import observe_signal
from onnxspace.errors import ModelError
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.encoder import Encoder, find_encoder
from onnxspace.model.model import Model

#: Another preprocessing for a given one, None where there is none.
Change = Callable[[Preprocess], Preprocess | None]

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
VARIANTS: Mapping[str, Change] = {
    "its colour channels are in another order (RGB and BGR are swapped)": _swap_channels,
    "it expects pixels from −1 to 1 (a rescaling was added or removed)": _set_range(1 / 127.5, 1.0),
    "it expects pixels from 0 to 1 (a rescaling was added or removed)": _set_range(1 / 255, 0.0),
    "it expects pixels from 0 to 255 (a rescaling was added or removed)": _set_range(1.0, 0.0),
    "it expects pixels normalised by ImageNet's mean and standard deviation (a normalisation was added or removed)": _use_imagenet,
}

#: The only variant where the first layer gets what the old network's first layer gets.
_ALIKE = "its first layer gets other numbers for the same pixels than the old one's"


def observe_variants(
    model: Model, fed: Sequence[Sequence[float]], images: NDArray[np.uint8], file: Path
) -> dict[str, Any]:  # fmt: skip
    """Signals at the encoder for changes of what the model is fed, as `diagnose_input.find_input_change` takes them.

    `fed` is slope and offset per colour of what the old network's first layer gets, empty where that is unknown; `images` is uint8
    [images, size, size, 3], `file` is for values.
    """
    encoder, front = find_encoder(model), find_front(model)
    signals = _observe_each(model, encoder, VARIANTS, images, file)
    found: dict[str, Any] = {"variants": signals, "bare": {}, "operators": [], "alike": {}}
    if front is None:
        return found
    if (inner := inner_steps(model, front)) is not None:
        found["alike"] = _observe_each(model, encoder, {_ALIKE: lambda p: fed_as(p, inner, fed)}, images, file)
    if front.operators:
        found["operators"] = list(front.operators)
        found["bare"] = _observe_bare(without_front(model, front), encoder, fed, images, file)
    return found


def _observe_bare(
    model: Model, encoder: Encoder, fed: Sequence[Sequence[float]], images: NDArray[np.uint8], file: Path
) -> dict[str, Any]:  # fmt: skip
    """Signals of a network without its front, fed as the old one, as before, and with each change."""
    plain = np.stack([np.ones(model.preprocess.channels), np.zeros(model.preprocess.channels)], axis=1)
    changes: dict[str, Change] = {"as before": lambda p: p, "as the old one": lambda p: fed_as(p, plain, fed)}
    return _observe_each(model, encoder, changes | dict(VARIANTS), images, file, same=True)


def _observe_each(
    model: Model, encoder: Encoder, changes: Mapping[str, Change], images: NDArray[np.uint8], file: Path, *, same: bool = False
) -> dict[str, Any]:  # fmt: skip
    """The signal of each change; the preprocessing as it is counts only with `same`. What can't be run is left out."""
    signals = {}
    for name, change in changes.items():
        if (fed := change(model.preprocess)) is None or (fed == model.preprocess and not same):
            continue
        with suppress(ModelError):
            signals[name] = observe_signal(replace(model, preprocess=fed), encoder, images, file).to_dict()
    return signals
