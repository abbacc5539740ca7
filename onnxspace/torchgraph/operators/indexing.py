"""Operators that gather, scatter and select elements by position."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onnxspace.torchgraph.registry import Apply, HostValue, Node, TorchOperator, converter, read_on_host, to_integers

#: Unsigned integers, for which Torch lacks operators.
UNSIGNED = {torch.uint16, torch.uint32, torch.uint64}
_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _in_int64(function: Callable[..., Tensor], *also: torch.dtype) -> Callable[..., Tensor]:
    """Extend a function to unsigned integers, which Torch lacks, and to the types `also`, by computing in int64."""

    @functools.wraps(function)
    def wrapped(*tensors: Any) -> Tensor:
        kind = tensors[0].dtype
        if kind not in UNSIGNED and kind not in also:
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

    def encode(index: Tensor, depth: HostValue, values: Tensor) -> Tensor:
        count, rank = to_integers(depth)[0], index.dim() + 1
        at = axis % rank
        places = torch.arange(count, device=index.device).reshape([count if i == at else 1 for i in range(rank)])
        hot = _normalise_index(index, count).unsqueeze(at) == places
        return torch.where(hot, values[1], values[0])

    return read_on_host(Apply(encode), 1)


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
