"""Boxes that detectors state by their distance from the positions of grids, as left, top, right and bottom in pixels.

SCRFD: Guo et al., "Sample and computation redistribution for efficient face detection" (ICLR 2022); YuNet: Wu et al., "YuNet: a tiny
millisecond-level face detector" (Machine Intelligence Research 20, 2023); MediaPipe: Bazarevsky et al., "BlazeFace" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onnxspace.model.detections import BoxForm

#: Boxes per position of MediaPipe's two grids, whose boxes are one after another.
_ANCHORS = (2, 6)


def split_levels(form: BoxForm, values: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return boxes [n, values], scores [n, classes] and, where there is one, the factor of the scores [n] of all grids."""
    step = 3 if form.objectness else 2
    parts = [torch.cat([one.reshape(-1, one.shape[-1]) for one in values[k::step]]) for k in range(step)]
    return parts[0], parts[1], parts[2].flatten() if form.objectness else None


def decode_boxes(form: BoxForm, boxes: Tensor, values: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Return `boxes` [n, values] of all grids in an input of `size` (height, width) as corners [n, 4] in pixels."""
    raw, points, strides = boxes[:, :4].double(), *_list_positions(form, values, size, boxes.device)
    if form.grids == "distances":
        return torch.cat([points - raw[:, :2] * strides, points + raw[:, 2:] * strides], dim=1)
    if form.grids == "logarithms":
        centre, half = points + raw[:, :2] * strides, raw[:, 2:].exp() * strides / 2
    else:
        centre, half = points + strides / 2 + raw[:, :2], raw[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _list_positions(
    form: BoxForm, values: Sequence[Tensor], size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The upper left corner of each box's cell [n, 2], x before y, and the side of its cell [n, 1]."""
    points, strides = [], []
    for number, stride in enumerate(form.strides):
        high, wide = (-(-side // stride) for side in size)
        y, x = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        cells = torch.stack([x, y], dim=-1).reshape(-1, 2)
        count = _ANCHORS[number] if form.grids == "offsets" else _count_boxes(form, values, number) // len(cells)
        points.append(cells.repeat_interleave(count, dim=0).double() * stride)
        strides.append(torch.full((len(points[-1]), 1), float(stride), dtype=torch.float64))
    return torch.cat(points).to(device), torch.cat(strides).to(device)


def _count_boxes(form: BoxForm, values: Sequence[Tensor], level: int) -> int:
    boxes = values[level * (3 if form.objectness else 2)]
    return boxes.numel() // boxes.shape[-1]


def select_level(form: BoxForm, values: Sequence[Tensor], place: int, number: int) -> list[Tensor]:
    """Weights of the value that is the score of class `number` of box `place` of all grids.

    Where the score is √(class · objectness), they are its derivatives.
    """
    weights, step, rest = [torch.zeros_like(one) for one in values], 3 if form.objectness else 2, place
    for first in range(0, len(values), step):
        scores = values[first + 1].reshape(-1, form.classes)
        if rest >= len(scores):
            rest -= len(scores)
            continue
        if not form.objectness:
            weights[first + 1].view(-1, form.classes)[rest, number] = 1
            break
        own, factor = scores[rest, number], values[first + 2].flatten()[rest]
        score = (own * factor).clamp(min=torch.finfo(own.dtype).tiny).sqrt()
        weights[first + 1].view(-1, form.classes)[rest, number] = factor / (2 * score)
        weights[first + 2].view(-1)[rest] = own / (2 * score)
        break
    return weights
