"""The box of a detector that overlaps most with a given one, and the value that is its score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxspace.attribution.grid_boxes import decode_boxes, select_level, split_levels
from onnxspace.attribution.regions import draw_rectangle, project_mask
from onnxspace.errors import AttributionError
from onnxspace.inputs.targets import Rectangle, join_numbers
from onnxspace.model.detections import BoxForm

#: The share of boxes that have an area, of which raw values have a quarter.
_LEAST_BOXES = 0.5


@dataclass(frozen=True)
class NearestBox:
    """The weights of the detector's outputs that select one score, its class, the `score`, and the `overlap` of both boxes (0 to 1)."""

    weights: list[Tensor]
    number: int
    score: float
    overlap: float


def weigh_box(
    form: BoxForm,
    values: Sequence[Tensor],
    box: Rectangle,
    path: str,
    resizing: tuple[Tensor, Tensor],
    choose: Callable[[Tensor], int],
) -> NearestBox:
    """Return the score of the box nearest to `box` (left, top, width, height in pixels of the probe image) by overlap.

    `values` are the outputs for one image, `choose` returns the class of a box from its scores, `resizing` is as in `find_cells`. Boxes
    of one overlap are taken by their order. Raises AttributionError where no box overlaps with it.
    """
    size = (resizing[0].shape[1], resizing[1].shape[1])
    rows = _read_rows(form, values)
    wanted = _project_box(box, path, resizing)
    if form.grids is None:
        corners = _to_corners(form, rows.boxes.double(), size)
        _check_corners(corners, path)
    else:
        corners = decode_boxes(form, rows.boxes, values, size)
    overlaps = _measure_overlaps(corners, wanted)
    if not len(overlaps) or float(overlaps.max()) <= 0:
        raise AttributionError(f"{path} finds no box that overlaps with {join_numbers(box)}. Give another --box.")
    place = int(overlaps.argmax())
    number = choose(rows.scores[place]) if form.classes > 1 else 0
    return NearestBox(rows.select(values, place, number), number, float(rows.scores[place][number]), float(overlaps[place]))


@dataclass(frozen=True)
class _Rows:
    """Boxes [n, 4], or values of them, and scores [n, classes]; `select` weights the value from which a score is read."""

    boxes: Tensor
    scores: Tensor
    select: Callable[[Sequence[Tensor], int, int], list[Tensor]]


def _read_rows(form: BoxForm, values: Sequence[Tensor]) -> _Rows:
    if form.grids is not None:
        boxes, scores, factor = split_levels(form, values)
        scores = scores if factor is None else (scores * factor[:, None]).clamp(min=0).sqrt()
        return _Rows(boxes, scores, lambda outputs, place, number: select_level(form, outputs, place, number))
    if len(form.tensors) == 2:
        boxes, scores = values[0].reshape(-1, 4), values[1].reshape(-1, form.classes)
        return _Rows(boxes, scores, lambda outputs, place, number: _select_apart(form, outputs, place, number))
    table = values[0][0].T if form.first else values[0][0]
    begin = 5 if form.objectness else 4
    scores = table[:, begin:] * table[:, 4:5] if form.objectness else table[:, begin:]
    return _Rows(table[:, :4], scores, lambda outputs, place, number: _select_joint(form, outputs, place, begin + number))


def _select_apart(form: BoxForm, outputs: Sequence[Tensor], place: int, number: int) -> list[Tensor]:
    weights = [torch.zeros_like(output) for output in outputs]
    weights[1].view(-1, form.classes)[place, number] = 1
    return weights


def _select_joint(form: BoxForm, outputs: Sequence[Tensor], place: int, column: int) -> list[Tensor]:
    """Weights of the class's value and, as a product's derivative, of the objectness that multiplies it."""
    weights = torch.zeros_like(outputs[0])
    if form.first:
        weights[0, column, place] = 1
    elif form.objectness:
        weights[0, place, column], weights[0, place, 4] = outputs[0][0, place, 4], outputs[0][0, place, column]
    return [weights]


def _project_box(box: Rectangle, path: str, resizing: tuple[Tensor, Tensor]) -> Tensor:
    """A box of the probe image as corners in the network's input, in pixels: the area that its mask covers there, side by side."""
    mask = draw_rectangle(box, len(resizing[0]), path).to(resizing[0])
    covered = project_mask(mask, resizing).double()
    if float(covered.max()) <= 0:
        raise AttributionError(f"{path} does not see {join_numbers(box)}, which its crop cuts off. Give another --box.")
    (top, bottom), (left, right) = (_find_ends(covered.max(dim=axis).values) for axis in (1, 0))
    return torch.tensor([left, top, right, bottom], dtype=torch.float64, device=mask.device)


def _find_ends(profile: Tensor) -> tuple[float, float]:
    """Start and end of what a profile covers: partly covered pixels count by their part."""
    share = profile / profile.max()
    inside = torch.nonzero(share > 0).flatten()
    first, last = int(inside[0]), int(inside[-1])
    if first == last:
        return float(first), float(last + 1)
    return first + 1 - float(share[first]), last + float(share[last])


def _to_corners(form: BoxForm, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes [n, 4] as left, top, right, bottom in pixels of the input of this height and width."""
    height, width = size
    shares = form.shares or (form.corners == "corners" and bool((boxes.abs() <= 2).all()))
    scaled = boxes * boxes.new_tensor([width, height, width, height]) if shares else boxes
    if form.corners == "corners":
        return scaled
    centre, half = scaled[:, :2], scaled[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _check_corners(corners: Tensor, path: str) -> None:
    """Raise AttributionError where most boxes have no area: raw values, which a program makes boxes of, are none."""
    if len(corners) and float((corners[:, 2:] > corners[:, :2]).all(dim=1).double().mean()) < _LEAST_BOXES:
        raise AttributionError(
            f"{path}: most of its boxes have no width or height, so its output boxes holds raw values, of which another program makes "
            "boxes. Explain one of its scores by --value scores[index]."
        )


def _measure_overlaps(boxes: Tensor, box: Tensor) -> Tensor:
    """Intersection over union of each of `boxes` [n, 4] with one box, both as corners."""
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared).clamp(min=torch.finfo(torch.float64).tiny)
