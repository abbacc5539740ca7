"""The quantities of maps of a target: the number that they explain, and the probability that it stands for.

What is meant in an image is chosen at the whole image: the class of a rank, the class that wins in a region, the nearest box. It stays
the same for all variants of the image, as it does for maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from onnxspace.attribution.answers import View, find_answers
from onnxspace.attribution.faithfulness.quantity import Outputs, Quantity, Reference, to_probabilities
from onnxspace.errors import AttributionError, ConfigError
from onnxspace.inputs.faithfulness import Followed
from onnxspace.model.aims import Aim

_Follow = Callable[[Outputs, Reference], Tensor]


def follow_aim(aim: Aim, view: View, followed: Followed, raw: Sequence[Tensor]) -> Quantity:
    """Return the quantity of maps of `aim`: curves follow its probability or, where it has none, the explained number itself.

    `raw` are outputs of one image or several, as the graph returns them, by whose shapes a probability is told from a plain number.
    Raises ConfigError where `followed` is a probability that the target does not have.
    """
    probability = None if followed == "value" else _find_probability(aim, raw)
    if followed == "probability" and probability is None:
        raise ConfigError(
            f"{view.path} has no probability of {aim.target.words}. Give --faithfulness-curves value, which follows the number itself."
        )
    product = aim.boxes is not None and aim.boxes.objectness and not aim.boxes.first
    explain = partial(_multiply_score if product else explain_aim, view.path)
    words, follow = probability or ("the explained value", explain)
    return Quantity(_describe(aim), words, explain, follow, partial(_weigh, aim, view), by_magnitude=False)


def _describe(aim: Aim) -> str:
    return f"{aim.target.words} before the {aim.before}" if aim.before else aim.target.words


def _weigh(aim: Aim, view: View, raw: Sequence[Tensor], images: int) -> Sequence[Tensor]:
    return find_answers(aim, raw[: len(aim.tensors)], images, view).weights


def explain_aim(path: str, outputs: Outputs, reference: Reference) -> Tensor:
    """Return the explained number of each image, float64 [images]: the values by their weights, which are those of the whole image.

    Raises AttributionError, naming the model file `path`, where the outputs have another length than for the whole image.
    """
    pairs = list(zip(outputs, reference.weights, strict=False))
    if any(output.shape[1] != weights.shape[1] for output, weights in pairs):
        raise AttributionError(
            f"{path}: its outputs change their length when pixels are removed, so no value of them can be followed. Leave the target out."
        )
    return torch.stack([(output.double() * weights.double()).sum(dim=1) for output, weights in pairs]).sum(dim=0)


def _multiply_score(path: str, outputs: Outputs, reference: Reference) -> Tensor:
    """The score of a box that is a product of two values, which the weights mark: they are the derivatives at the whole image."""
    explain_aim(path, outputs, reference)
    return torch.where(reference.weights[0] != 0, outputs[0], 1).double().prod(dim=1)


def _find_probability(aim: Aim, raw: Sequence[Tensor]) -> tuple[str, _Follow] | None:
    """How the target's probability is called and computed; None for values, boxes, and a single value that is no probability."""
    if aim.kind == "class" and (aim.probability == "sigmoid" or raw[0][:1].numel() > 1):
        return "the probability of the explained class", partial(_compute_class, aim)
    several = aim.axis is not None and raw[0].shape[aim.axis] > 1
    if aim.kind == "dense" and (aim.probability == "sigmoid" or several):
        return "the mean probability of the explained class at the explained pixels", partial(_compute_dense, aim)
    return None


def _compute_class(aim: Aim, outputs: Outputs, reference: Reference) -> Tensor:
    values, whole = outputs[0].double(), reference.outputs[0].double()
    probabilities = values.sigmoid() if aim.probability == "sigmoid" else to_probabilities(values, whole, 1)
    return probabilities[:, int(reference.weights[0].argmax())]


def _compute_dense(aim: Aim, outputs: Outputs, reference: Reference) -> Tensor:
    """The mean over the explained pixels of the channel's probability there."""
    values, whole, weights = (
        _to_channels(aim, one[0].double(), reference.shapes[0]) for one in (outputs, reference.outputs, reference.weights)
    )
    number = int(weights[0].sum(dim=1).argmax())
    cells = weights[0, number] > 0
    probabilities = values.sigmoid() if aim.probability == "sigmoid" else to_probabilities(values, whole, 1)
    return probabilities[:, number, cells].mean(dim=1)


def _to_channels(aim: Aim, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Flat values [images, units] as [images, channels, positions]."""
    if aim.axis is None:
        return values[:, None]
    return values.reshape(len(values), *shape[1:]).movedim(aim.axis, 1).flatten(2)
