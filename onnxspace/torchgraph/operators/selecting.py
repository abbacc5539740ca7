"""Operators that select elements by their values: TopK, Unique and NonMaxSuppression."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.indexing import UNSIGNED
from onnxspace.torchgraph.registry import HostValue, Node, TorchOperator, converter, read_on_host, to_integers, to_numbers


class TopK(nn.Module):
    """The k largest or smallest elements with their positions; equal ones are ordered by position."""

    def __init__(self, axis: int, largest: bool, k: int | None) -> None:
        super().__init__()
        self.axis, self.largest, self.k = axis, largest, k

    def forward(self, x: Tensor, k: HostValue | None = None) -> tuple[Tensor, Tensor]:
        count = to_integers(k)[0] if k is not None else self.k or 0
        if count > x.shape[self.axis]:
            raise ValueError(f"k is {count}, but the axis has {x.shape[self.axis]} elements")
        kind = torch.int64 if x.dtype in UNSIGNED else x.dtype
        values, index = torch.sort(x.to(kind), dim=self.axis, descending=self.largest, stable=True)
        return values.narrow(self.axis, 0, count).to(x.dtype), index.narrow(self.axis, 0, count)


@converter("TopK", 1, 10, 11, 24)
def top_k(node: Node) -> TorchOperator:
    """TopK of every version."""
    result = TopK(node.get("axis", -1), bool(node.get("largest", 1)), node.get("k"))
    return read_on_host(result if node.outputs > 1 else FirstOutput(result), 1)


class FirstOutput(nn.Module):
    """Returns the first of a module's outputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: HostValue | None) -> Any:
        return self.inner(*inputs)[0]


class Unique(nn.Module):
    """Distinct elements or slices, with first positions, inverse indices, and counts."""

    def __init__(self, axis: int | None, ordered: bool) -> None:
        super().__init__()
        self.axis, self.ordered = axis, ordered

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        axis, values = (0, x.reshape(-1)) if self.axis is None else (self.axis, x)
        _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True, dim=axis)
        places = torch.arange(len(inverse), device=x.device)
        first = torch.full_like(counts, len(inverse)).scatter_reduce(0, inverse, places, "amin")
        if not self.ordered:
            order = torch.argsort(first)
            first, counts, inverse = first[order], counts[order], torch.argsort(order)[inverse]
        return values.index_select(axis, first), first, inverse, counts


@converter("Unique", 11, 28)
def unique(node: Node) -> TorchOperator:
    """Unique, sorted or in order of appearance."""
    result = Unique(node.get("axis"), bool(node.get("sorted", 1)))
    return result if node.outputs > 1 else FirstOutput(result)


class NonMaxSuppression(nn.Module):
    """Greedy selection of boxes by score, per image and class; returns rows (image, class, box)."""

    def __init__(self, centred: bool) -> None:
        super().__init__()
        self.centred = centred

    def forward(
        self,
        boxes: Tensor,
        scores: Tensor,
        most: HostValue | None = None,
        overlap: HostValue | None = None,
        least: HostValue | None = None,
    ) -> Tensor:
        count = to_integers(most)[0] if most is not None else 0
        limit = float(to_numbers(overlap)[0]) if overlap is not None else 0.0
        floor = float(to_numbers(least)[0]) if least is not None else -math.inf
        rows = [
            [image, kind, box]
            for image in range(len(boxes))
            for clash in [self._overlaps(boxes[image]) > limit]
            for kind in range(scores.shape[1])
            for box in _select_greedily(clash, scores[image, kind], floor, count)
        ]
        return torch.tensor(rows, dtype=torch.int64, device=boxes.device).reshape(-1, 3)

    def _overlaps(self, boxes: Tensor) -> Tensor:
        """Intersection over union of every pair of boxes; −1 for boxes without area."""
        if self.centred:
            low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
        else:
            low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
        area = (high - low).prod(1)
        shared = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(2)
        union = area[:, None] + area - shared
        valid = (area[:, None] > 0) & (area > 0) & (union > 0)
        return torch.where(valid, shared / union, -torch.ones_like(shared))


def _select_greedily(clash: Tensor, scores: Tensor, floor: float, count: int) -> list[int]:
    chosen: list[int] = []
    free = scores > floor
    for box in torch.argsort(scores, descending=True, stable=True).tolist():
        if len(chosen) >= count:
            break
        if free[box]:
            chosen.append(box)
            free = free & ~clash[box]
    return chosen


@converter("NonMaxSuppression", 10, 11)
def non_max_suppression(node: Node) -> TorchOperator:
    """NonMaxSuppression; corners may be in any order."""
    return read_on_host(NonMaxSuppression(bool(node.get("center_point_box", 0))), 2, 3, 4)
