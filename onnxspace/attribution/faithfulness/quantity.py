"""The quantities that faithfulness is measured on: what maps attribute to pixels, and what curves follow.

Measures know a network as a function from images to outputs, and these quantities as functions of the outputs. So the map of a class is
measured with another `Quantity`: `explain` is the logit, `follow` its probability, and `by_magnitude` False.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

#: Outputs of a pass, each [images, units].
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Quantity:
    """What maps attribute and what curves follow, of the outputs of a pass.

    `explain(outputs)` is the scalar of each image that maps attribute to pixels, float64 [images]; `follow(outputs, whole)` the scalar
    that curves follow, with `whole` the outputs for the whole images, a row for each. `explained` and `followed` are these in words.
    `by_magnitude` says whether pixels are ranked by the magnitude of a map: what is negative for one quantity matters to the other all
    the same, unless both rise and fall together.
    """

    explained: str
    followed: str
    explain: Callable[[Outputs], Tensor]
    follow: Callable[[Outputs, Outputs], Tensor]
    by_magnitude: bool = True


def follow_features(deviating: Sequence[bool]) -> Quantity:
    """The quantity of an encoder's maps whose curves follow the features; `deviating` says of which tensors deviations are explained."""
    explained, explain = _explain_encoder(deviating)
    return Quantity(explained, "the cosine of the encoder's features with those of the whole image", explain, compare_features)


def follow_probability(deviating: Sequence[bool]) -> Quantity:
    """The same with curves that follow the class of the whole image; the outputs are the encoder's, and the classes' last."""
    explained, explain = _explain_encoder(deviating)
    return Quantity(explained, "the probability of the class that the whole image gets", explain, compute_probability)


def _explain_encoder(deviating: Sequence[bool]) -> tuple[str, Callable[[Outputs], Tensor]]:
    what = "the sum of the encoder's units" if not any(deviating) else "the sum of the deviations of the encoder's units"
    return what, partial(sum_units, deviating=tuple(deviating))


def sum_units(outputs: Outputs, deviating: Sequence[bool]) -> Tensor:
    """Return the sum of the units of each image, or of their deviations above their mean: float64 [images]."""
    sums = [_sum_tensor(output.double(), deviates) for output, deviates in zip(outputs, deviating, strict=False)]
    return torch.stack(sums).sum(dim=0)


def _sum_tensor(output: Tensor, deviates: bool) -> Tensor:
    return ((output - output.mean(dim=1, keepdim=True)).clamp(min=0) if deviates else output).sum(dim=1)


def compare_features(outputs: Outputs, whole: Outputs) -> Tensor:
    """Return the cosine of all outputs of each image with those of the whole image: float64 [images]."""
    one, other = (torch.cat(list(each), dim=1).double() for each in (outputs, whole))
    return cosine_similarity(one, other, dim=1, eps=1e-30)


def compute_probability(outputs: Outputs, whole: Outputs) -> Tensor:
    """Return the probability of the class that the whole image gets: float64 [images].

    Outputs that are probabilities already, since those of the whole image are positive and add up to 1, are taken as they are.
    """
    classes, reference = outputs[-1].double(), whole[-1].double()
    ready = (reference >= 0).all(dim=1) & ((reference.sum(dim=1) - 1).abs() < 1e-3)
    probabilities = torch.where(ready[:, None], classes, classes.softmax(dim=1))
    return probabilities.gather(1, reference.argmax(dim=1, keepdim=True))[:, 0]
