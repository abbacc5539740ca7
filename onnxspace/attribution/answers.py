"""From a network's outputs to the number that a target explains: weights of the outputs' values, and what is said of each image.

The explained number is Σ w·u over the values u of the outputs. The weights w are chosen at the image itself: a class by rank, the class
that wins in a region and the nearest box stay the same along a line of integrated gradients and under noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onnxspace.attribution.boxes import weigh_box
from onnxspace.attribution.regions import find_cells
from onnxspace.errors import AttributionError, ConfigError
from onnxspace.inputs.targets import parse_index
from onnxspace.model.aims import Aim, Kind

#: Sums of probabilities that are 1 up to rounding.
_ONE = 1e-3


@dataclass(frozen=True)
class Answers:
    """Weights of the values of each output, of the outputs' shapes, and a caption per image."""

    weights: tuple[Tensor, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """How a network sees the probe images: `rows` [size, height] and `columns` [size, width] resize maps to them."""

    path: str
    rows: Tensor
    columns: Tensor


def find_answers(aim: Aim, outputs: Sequence[Tensor], images: int, view: View) -> Answers:
    """Return what `aim` explains of the `outputs`, each [images, …], of so many images.

    Raises ConfigError for an index or a region outside of an output, AttributionError for a box that overlaps none.
    """
    parts = [_split(output, images) for output in outputs]
    each = [_WAYS[aim.kind](aim, [part[k] for part in parts], view) for k in range(images)]
    columns = zip(*(weights for weights, _ in each), strict=True)
    stacked = tuple(torch.stack(column).reshape(output.shape) for column, output in zip(columns, outputs, strict=True))
    return Answers(stacked, tuple(caption for _, caption in each))


def _split(output: Tensor, images: int) -> Tensor:
    """An output as [images, …], where each image's part has the shape that the file gives for one image."""
    if output.dim() == 0 or output.shape[0] % images:
        return output[None]
    return output.reshape(images, output.shape[0] // images, *output.shape[1:])


def _weigh_class(aim: Aim, values: Sequence[Tensor], _view: View) -> tuple[list[Tensor], str]:
    flat = values[0].flatten()
    number = _choose_class(aim, flat)
    weights = torch.zeros_like(flat)
    if aim.target.contrast:
        weights -= 1 / (len(flat) - 1)
    weights[number] = 1
    return [weights.reshape(values[0].shape)], _describe_class(aim, flat, number)


def _choose_class(aim: Aim, values: Tensor) -> int:
    if aim.number is not None:
        return aim.number
    return int(torch.argsort(values, descending=True, stable=True)[(aim.target.rank or 1) - 1])


def _describe_class(aim: Aim, values: Tensor, number: int) -> str:
    return f"{aim.name_class(number)}, {_describe_probability(aim, values, number)}"


def _describe_probability(aim: Aim, values: Tensor, number: int) -> str:
    """A probability in per cent: as the network ends, or by a softmax where it ends in values that are none."""
    found = values.double()
    if aim.probability == "sigmoid":
        return f"{100 * float(found[number].sigmoid()):.1f} %"
    stated = aim.probability == "stated" and bool((found >= 0).all()) and abs(float(found.sum()) - 1) < _ONE
    if len(found) == 1 and not stated:
        return f"value {float(found[0]):.3g}"
    return f"{100 * float((found if stated else found.softmax(0))[number]):.1f} %"


def _weigh_dense(aim: Aim, values: Sequence[Tensor], view: View) -> tuple[list[Tensor], str]:
    planes = values[0][0][None] if aim.axis is None else values[0].movedim(aim.axis, 1)[0]
    cells = find_cells(aim.target.region, view.path, (view.rows, view.columns), (planes.shape[1], planes.shape[2]))
    won = torch.bincount(planes.argmax(dim=0)[cells], minlength=len(planes)).double() / cells.sum()
    number = _choose_class(aim, won + planes[:, cells].double().mean(dim=1).sigmoid() * 1e-6)
    weights = torch.zeros_like(planes)
    weights[number][cells] = 1
    back = weights[0] if aim.axis is None else weights[None].movedim(1, aim.axis)
    words = f"{aim.name_class(number)}, wins in {100 * float(won[number]):.0f} % of it"
    return [back.reshape(values[0].shape)], words if len(planes) > 1 else _describe_mean(aim, planes[0][cells])


def _describe_mean(aim: Aim, values: Tensor) -> str:
    if aim.probability == "sigmoid":
        return f"mean {100 * float(values.double().sigmoid().mean()):.1f} %"
    return f"mean value {float(values.double().mean()):.3g}"


def _weigh_values(aim: Aim, values: Sequence[Tensor], view: View) -> tuple[list[Tensor], str]:
    chosen = np.zeros(tuple(values[0].shape), bool)
    try:
        chosen[() if aim.target.index is None else parse_index(aim.target.index)] = True
    except IndexError as error:
        raise ConfigError(_describe_index(aim, values[0], view, "is outside of it")) from error
    if not chosen.any():
        raise ConfigError(_describe_index(aim, values[0], view, "selects nothing"))
    weights = torch.from_numpy(chosen).to(values[0])
    count, total = int(chosen.sum()), float((values[0] * weights).sum())
    return [weights], f"{total:.3g}" if count == 1 else f"sum of {count:,} values, {total:.3g}"


def _describe_index(aim: Aim, values: Tensor, view: View, why: str) -> str:
    return (
        f"{view.path}: {aim.output} is {list(values.shape)} for one image, and [{aim.target.index}] {why}. Correct the index."
    )


def _weigh_box(aim: Aim, values: Sequence[Tensor], view: View) -> tuple[list[Tensor], str]:
    if aim.boxes is None or aim.target.box is None:
        raise AttributionError(f"{view.path} has no box to explain. Give --box.")
    found = weigh_box(
        aim.boxes, values, aim.target.box, view.path, (view.rows, view.columns), lambda scores: _choose_class(aim, scores)
    )
    name = f"{aim.name_class(found.number)}, " if aim.boxes.classes > 1 else ""
    return found.weights, f"{name}score {found.score:.3g}, overlap {found.overlap:.2f}"


_WAYS: Mapping[Kind, Callable[[Aim, Sequence[Tensor], View], tuple[list[Tensor], str]]] = {
    "class": _weigh_class,
    "dense": _weigh_dense,
    "values": _weigh_values,
    "box": _weigh_box,
}
