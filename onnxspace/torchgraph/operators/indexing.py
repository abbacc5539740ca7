"""Operators that gather, scatter, sort and select elements by position."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter, to_integers

_LACKING = {torch.uint16, torch.uint32, torch.uint64}
_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _in_int64(function: Callable[..., Tensor], *also: torch.dtype) -> Callable[..., Tensor]:
    """Extend a function to unsigned integers, which Torch lacks, and to the types `also`, by computing in int64."""

    @functools.wraps(function)
    def wrapped(*tensors: Any) -> Tensor:
        kind = tensors[0].dtype
        if kind not in _LACKING and kind not in also:
            return function(*tensors)
        return function(*[t.long() if t.dtype == kind else t for t in tensors]).to(kind)

    return wrapped


def _normalise_index(index: Tensor, size: int) -> Tensor:
    """Replace negative indices, which count from the end of an axis of length `size`."""
    index = index.long()
    return torch.where(index < 0, index + size, index)


@converter("Gather", 1, 11, 13)
def gather(node: Node) -> TorchOperator:
    """Gather along one axis."""
    axis = node.get("axis", 0)

    def pick(x: Tensor, index: Tensor) -> Tensor:
        at = axis % x.dim()
        rows = x.index_select(at, _normalise_index(index, x.shape[at]).reshape(-1))
        return rows.reshape(x.shape[:at] + index.shape + x.shape[at + 1 :])

    return Apply(_in_int64(pick))


@converter("GatherElements", 11, 13)
def gather_elements(node: Node) -> TorchOperator:
    """GatherElements."""
    axis = node.get("axis", 0)
    return Apply(_in_int64(lambda x, index: torch.gather(x, axis, _normalise_index(index, x.shape[axis]))))


@converter("GatherND", 11, 12, 13)
def gather_nd(node: Node) -> TorchOperator:
    """GatherND: slices at coordinates, for each entry of the leading batch axes."""
    batch = node.get("batch_dims", 0)

    def pick(x: Tensor, index: Tensor) -> Tensor:
        depth, count = index.shape[-1], math.prod(x.shape[:batch])
        inner = x.reshape(count, *x.shape[batch:])
        where = index.reshape(count, -1 if index.numel() else 0, depth)
        columns = [_normalise_index(where[..., k], x.shape[batch + k]) for k in range(depth)]
        found = inner[(torch.arange(count, device=x.device)[:, None], *columns)]
        return found.reshape(index.shape[:-1] + x.shape[batch + depth :])

    return Apply(_in_int64(pick))


def _scatter(x: Tensor, axis: int, index: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """Write updates into a copy of `x`, or combine them with its values."""
    updates = updates.to(x.dtype)
    if reduction == "none":
        return torch.scatter(x, axis, index, updates)
    return torch.scatter_reduce(x, axis, index, updates, _REDUCTIONS[reduction], include_self=True)


def _read_reduction(node: Node) -> str:
    reduction = str(node.get("reduction", "none"))
    if reduction != "none" and reduction not in _REDUCTIONS:
        raise NotImplementedError(f"reduction {reduction}")
    return reduction


@converter("Scatter", 9, 11)
@converter("ScatterElements", 11, 13, 16, 18)
def scatter_elements(node: Node) -> TorchOperator:
    """ScatterElements, with or without a reduction."""
    axis, reduction = node.get("axis", 0), _read_reduction(node)

    def scatter(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        return _scatter(x, axis, _normalise_index(index, x.shape[axis]), updates, reduction)

    return Apply(_in_int64(scatter, *([torch.bool] if reduction != "none" else [])))


@converter("ScatterND", 11, 13, 16, 18)
def scatter_nd(node: Node) -> TorchOperator:
    """ScatterND, with or without a reduction."""
    reduction = _read_reduction(node)

    def scatter(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        depth = index.shape[-1]
        row = torch.zeros(index.shape[:-1], dtype=torch.int64, device=x.device)
        for k in range(depth):
            row = row * x.shape[k] + _normalise_index(index[..., k], x.shape[k])
        width = math.prod(x.shape[depth:])
        flat = x.reshape(math.prod(x.shape[:depth]), width)
        rows = row.reshape(-1, 1).expand(-1, width)
        return _scatter(flat, 0, rows, updates.reshape(rows.shape), reduction).reshape(x.shape)

    return Apply(_in_int64(scatter, *([torch.bool] if reduction != "none" else [])))


@converter("TensorScatter", 24)
def tensor_scatter(node: Node) -> TorchOperator:
    """TensorScatter: writes updates from a start position per batch entry, wrapping around if circular."""
    axis, circular = node.get("axis", -2), node.get("mode", "linear") == "circular"

    def scatter(cache: Tensor, update: Tensor, start: Tensor | None = None) -> Tensor:
        at, size = axis % cache.dim(), cache.shape[axis]
        first = torch.zeros(len(cache), dtype=torch.int64, device=cache.device) if start is None else start.long()
        steps = first[:, None] + torch.arange(update.shape[at], device=cache.device)
        shape = [len(cache)] + [1] * (cache.dim() - 1)
        shape[at] = update.shape[at]
        index = (steps % size if circular else steps).reshape(shape).expand(update.shape)
        return torch.scatter(cache, at, index, update.to(cache.dtype))

    return Apply(_in_int64(scatter))


@converter("ReverseSequence", 10, 28)
def reverse_sequence(node: Node) -> TorchOperator:
    """ReverseSequence: reverses the first steps of each batch entry, as many as its length."""
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)

    def reverse(x: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(x.shape[time], device=x.device)
        length = lengths.long()[:, None]
        index = torch.where(steps < length, length - 1 - steps, steps)
        shape = [1] * x.dim()
        shape[batch], shape[time] = x.shape[batch], x.shape[time]
        return torch.gather(x, time, (index if batch < time else index.T).reshape(shape).expand(x.shape))

    return Apply(_in_int64(reverse))


@converter("OneHot", 9, 11, 28)
def one_hot(node: Node) -> TorchOperator:
    """OneHot; an index out of range gives no hot element."""
    axis = node.get("axis", -1)

    def encode(index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        count, rank = to_integers(depth)[0], index.dim() + 1
        at = axis % rank
        places = torch.arange(count, device=index.device).reshape([count if i == at else 1 for i in range(rank)])
        hot = _normalise_index(index, count).unsqueeze(at) == places
        return torch.where(hot, values[1], values[0])

    return Apply(encode)


@converter("Compress", 9, 11, 28)
def compress(node: Node) -> TorchOperator:
    """Compress: the slices where the condition is true; without an axis, the elements of the flattened tensor."""
    axis = node.get("axis")

    def keep(x: Tensor, condition: Tensor) -> Tensor:
        chosen = torch.nonzero(condition.reshape(-1)).reshape(-1)
        return x.reshape(-1).index_select(0, chosen) if axis is None else x.index_select(axis, chosen)

    return Apply(_in_int64(keep))


@converter("Where", 9, 16)
def where(_node: Node) -> TorchOperator:
    """Where."""
    return Apply(torch.where)


@converter("NonZero", 9, 13)
def non_zero(_node: Node) -> TorchOperator:
    """NonZero: coordinates, one row per axis."""
    return Apply(lambda x: torch.nonzero(x if x.dim() else x.reshape(1)).T)


class TopK(nn.Module):
    """The k largest or smallest elements with their positions; equal ones are ordered by position."""

    def __init__(self, axis: int, largest: bool, k: int | None) -> None:
        super().__init__()
        self.axis, self.largest, self.k = axis, largest, k

    def forward(self, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = to_integers(k)[0] if k is not None else self.k or 0
        if count > x.shape[self.axis]:
            raise ValueError(f"k is {count}, but the axis has {x.shape[self.axis]} elements")
        kind = torch.int64 if x.dtype in _LACKING else x.dtype
        values, index = torch.sort(x.to(kind), dim=self.axis, descending=self.largest, stable=True)
        return values.narrow(self.axis, 0, count).to(x.dtype), index.narrow(self.axis, 0, count)


@converter("TopK", 1, 10, 11, 24)
def top_k(node: Node) -> TorchOperator:
    """TopK of every version."""
    result = TopK(node.get("axis", -1), bool(node.get("largest", 1)), node.get("k"))
    return result if node.outputs > 1 else FirstOutput(result)


class FirstOutput(nn.Module):
    """Returns the first of a module's outputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor | None) -> Any:
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
        most: Tensor | None = None,
        overlap: Tensor | None = None,
        least: Tensor | None = None,
    ) -> Tensor:
        count = to_integers(most)[0] if most is not None else 0
        limit = float(overlap) if overlap is not None else 0.0
        floor = float(least) if least is not None else -math.inf
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
    return NonMaxSuppression(bool(node.get("center_point_box", 0)))
