"""What a target stands for in each image, chosen once: by the network and the images themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.faithfulness.forward_pass import ForwardPass
from onnxspace.attribution.faithfulness.networks import to_input
from onnxspace.attribution.faithfulness.quantity import Quantity
from onnxspace.inputs.probes import Probes
from onnxspace.model.model import Model

#: Values of all outputs up to which the weights of an image are kept.
_FEW_VALUES = 2**14


@dataclass(frozen=True)
class FixedWeights:
    """Weights of the outputs' values for each of the `probes`, by the whole image and the network as it is."""

    model: Model
    forward: ForwardPass
    quantity: Quantity
    probes: Probes
    _kept: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)

    def bind(self, images: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], tuple[Tensor, ...]]:
        """Return the function from some of `images`, which are variants of the probes in their order, to the weights of the probes."""
        return partial(self._find, {_digest(image): place for place, image in enumerate(images)})

    def _find(self, places: Mapping[bytes, int], images: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        each = [self._weigh(places[_digest(image)]) for image in images]
        return tuple(torch.cat(column) for column in zip(*each, strict=True))

    def _weigh(self, place: int) -> tuple[Tensor, ...]:
        if place in self._kept:
            return self._kept[place]
        image = to_input(self.model, self.probes.images[place : place + 1])
        reference = self.forward.refer(image, self.quantity)
        weights = tuple(one.reshape(shape) for one, shape in zip(reference.weights, reference.shapes, strict=False))
        if sum(one.numel() for one in weights) <= _FEW_VALUES:
            self._kept[place] = weights
        return weights


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
