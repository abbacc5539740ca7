"""The quantities that faithfulness is measured on: what maps attribute to pixels, and what curves follow.

Measures know a network as a function from images to outputs, and these quantities as functions of the outputs. Those of an encoder are
here, those of a target in `onnxspace.attribution.faithfulness.aimed`.
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
class Reference:
    """The whole image, to which its variants are compared.

    `outputs` are its outputs, each [1, units], and `shapes` their shapes for one image; `weights`, each [1, units], are those of the
    values whose sum a target explains, empty without a target.
    """

    outputs: Outputs
    shapes: tuple[tuple[int, ...], ...] = ()
    weights: Outputs = ()


@dataclass(frozen=True)
class Quantity:
    """What maps attribute and what curves follow, of the outputs of a pass.

    `explain(outputs, reference)` is the scalar of each image that maps attribute to pixels, float64 [images];
    `follow(outputs, reference)` the scalar that curves follow. `explained` and `followed` are these in words. `weigh(raw, images)`
    returns the weights of a `Reference` from the outputs as the graph returns them for so many images. `by_magnitude` says whether
    pixels are ranked by the magnitude of a map: what is negative for one quantity matters to the other all the same, unless both rise
    and fall together.
    """

    explained: str
    followed: str
    explain: Callable[[Outputs, Reference], Tensor]
    follow: Callable[[Outputs, Reference], Tensor]
    weigh: Callable[[Sequence[Tensor], int], Sequence[Tensor]] | None = None
    by_magnitude: bool = True


def follow_features(deviating: Sequence[bool]) -> Quantity:
    """The quantity of an encoder's maps whose curves follow the features; `deviating` says of which tensors deviations are explained."""
    explained, explain = _explain_encoder(deviating)
    return Quantity(explained, "the cosine of the encoder's features with those of the whole image", explain, compare_features)


def follow_probability(deviating: Sequence[bool]) -> Quantity:
    """The same with curves that follow the class of the whole image; the outputs are the encoder's, and the classes' last."""
    explained, explain = _explain_encoder(deviating)
    return Quantity(explained, "the probability of the class that the whole image gets", explain, compute_probability)


def follow_explained(deviating: Sequence[bool]) -> Quantity:
    """The same with curves that follow what maps of the encoder attribute."""
    explained, explain = _explain_encoder(deviating)
    return Quantity(explained, "the explained value", explain, explain, by_magnitude=False)


def _explain_encoder(deviating: Sequence[bool]) -> tuple[str, Callable[[Outputs, Reference], Tensor]]:
    what = "the sum of the encoder's units" if not any(deviating) else "the sum of the deviations of the encoder's units"
    return what, partial(sum_units, deviating=tuple(deviating))


def sum_units(outputs: Outputs, _reference: Reference, deviating: Sequence[bool]) -> Tensor:
    """Return the sum of the units of each image, or of their deviations above their mean: float64 [images]."""
    sums = [_sum_tensor(output.double(), deviates) for output, deviates in zip(outputs, deviating, strict=False)]
    return torch.stack(sums).sum(dim=0)


def _sum_tensor(output: Tensor, deviates: bool) -> Tensor:
    return ((output - output.mean(dim=1, keepdim=True)).clamp(min=0) if deviates else output).sum(dim=1)


def compare_features(outputs: Outputs, reference: Reference) -> Tensor:
    """Return the cosine of all outputs of each image with those of the whole image: float64 [images]."""
    one, other = (torch.cat(list(each), dim=1).double() for each in (outputs, reference.outputs))
    return cosine_similarity(one, other, dim=1, eps=1e-30)


def compute_probability(outputs: Outputs, reference: Reference) -> Tensor:
    """Return the probability of the class that the whole image gets: float64 [images]."""
    whole = reference.outputs[-1].double()
    return to_probabilities(outputs[-1].double(), whole, 1)[:, int(whole.argmax())]


def to_probabilities(values: Tensor, whole: Tensor, axis: int) -> Tensor:
    """Return the probabilities of `values` along `axis`: by a softmax, unless those of the `whole` image are positive and add up to 1."""
    ready = bool((whole >= 0).all()) and bool(((whole.sum(dim=axis) - 1).abs() < 1e-3).all())
    return values if ready else values.softmax(dim=axis)
