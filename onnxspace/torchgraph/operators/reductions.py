"""Reductions over constant or computed axes, ArgMax and ArgMin, and cumulative sums and products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.arithmetic import divide_integers, from_ordered, narrow, to_ordered, widen
from onnxspace.torchgraph.registry import Apply, HostValue, Node, TorchOperator, converter, read_on_host, to_integers

Axes = tuple[int, ...]
_Reduction = Callable[[Tensor, Axes, bool], Tensor]


def _element_count(x: Tensor, axes: Axes) -> int:
    return torch.Size([x.shape[axis] for axis in axes]).numel()


def _sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return torch.sum(x, dim=axes, keepdim=keep) if axes else x


def _mean(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, dim=axes, keepdim=keep) if axes else x
    return divide_integers(_sum(x, axes, keep), torch.tensor(_element_count(x, axes), device=x.device))


def _prod(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Product over one axis at a time, as Torch supports, from the last to the first, so that axis numbers stay valid."""
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, dim=axis, keepdim=keep)
    return x


def _norm(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Euclidean norm, whose gradient at zero is zero; that of a square root would be NaN."""
    return torch.linalg.vector_norm(x, dim=axes, keepdim=keep) if axes else torch.abs(x)


def _log_sum_exp(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if _element_count(x, axes) == 0:
        return torch.log(_sum(x, axes, keep))
    return torch.logsumexp(x, dim=axes, keepdim=keep) if axes else x


_EXACT: dict[str, _Reduction] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceProd": _prod,
    "ReduceL1": lambda x, axes, keep: _sum(torch.abs(x), axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: _sum(x * x, axes, keep),
}
_ROUNDED: dict[str, _Reduction] = {
    "ReduceL2": _norm,
    "ReduceLogSum": lambda x, axes, keep: torch.log(_sum(x, axes, keep)),
    "ReduceLogSumExp": _log_sum_exp,
}


def _compute_in_int64(function: _Reduction) -> _Reduction:
    """Extend a reduction to all integer types by computing in int64."""

    def apply(x: Tensor, axes: Axes, keep: bool) -> Tensor:
        if x.is_floating_point():
            return function(x, axes, keep)
        return narrow(function(widen(x).to(torch.int64), axes, keep), x.dtype)

    return apply


def _compute_in_double(function: _Reduction) -> _Reduction:
    """Extend a reduction to all integer types by computing in double precision and truncating."""

    def apply(x: Tensor, axes: Axes, keep: bool) -> Tensor:
        if x.is_floating_point():
            return function(x, axes, keep)
        return narrow(function(x.double(), axes, keep).to(torch.int64), x.dtype)

    return apply


def _extreme(largest: bool) -> _Reduction:
    """Maximum or minimum; of no elements, the lowest or highest value of the type."""

    def apply(x: Tensor, axes: Axes, keep: bool) -> Tensor:
        if not axes:
            return x
        if _element_count(x, axes) == 0:
            shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
            return torch.full(shape, _limit(x.dtype, largest), dtype=x.dtype, device=x.device)
        result = to_ordered(x)
        return from_ordered(torch.amax(result, axes, keep) if largest else torch.amin(result, axes, keep), x.dtype)

    return apply


def _limit(dtype: torch.dtype, lowest: bool) -> float:
    if dtype == torch.bool:
        return not lowest
    if dtype.is_floating_point:
        return -torch.inf if lowest else torch.inf
    return torch.iinfo(dtype).min if lowest else torch.iinfo(dtype).max


def _reduction_of(operator: str) -> _Reduction:
    if operator in ("ReduceMax", "ReduceMin"):
        return _extreme(operator == "ReduceMax")
    return _compute_in_int64(_EXACT[operator]) if operator in _EXACT else _compute_in_double(_ROUNDED[operator])


class Reduce(nn.Module):
    """Reduction over constant axes, or axes given as an input; over all axes where there are none, unless `noop`."""

    def __init__(self, function: _Reduction, axes: list[int] | None, keep: bool, noop: bool) -> None:
        super().__init__()
        self.function, self.axes, self.keep, self.noop = function, axes, keep, noop

    def forward(self, x: Tensor, axes: HostValue | None = None) -> Tensor:
        asked = self.axes if self.axes is not None or axes is None else to_integers(axes)
        if not asked:
            asked = [] if self.noop else list(range(x.dim()))
        return self.function(x, tuple(axis % max(x.dim(), 1) for axis in asked), self.keep)


@converter("ReduceL1", 1, 11, 13, 18)
@converter("ReduceL2", 1, 11, 13, 18)
@converter("ReduceLogSum", 1, 11, 13, 18, 28)
@converter("ReduceLogSumExp", 1, 11, 13, 18, 28)
@converter("ReduceMax", 1, 11, 12, 13, 18, 20)
@converter("ReduceMin", 1, 11, 12, 13, 18, 20)
@converter("ReduceMean", 1, 11, 13, 18)
@converter("ReduceProd", 1, 11, 13, 18)
@converter("ReduceSum", 1, 11, 13)
@converter("ReduceSumSquare", 1, 11, 13, 18)
def reduction(node: Node) -> TorchOperator:
    """Every reduction: axes as an attribute, or as an input that may be computed."""
    try:
        axes = node.ints(1, "axes")
    except NotImplementedError:
        axes = None
    keep, noop = bool(node.get("keepdims", 1)), bool(node.get("noop_with_empty_axes", 0))
    return read_on_host(Reduce(_reduction_of(node.operator), axes, keep, noop), 1)


class Arg(nn.Module):
    """Index of the largest or smallest value along an axis; of equal values, the first or the last."""

    def __init__(self, largest: bool, axis: int, keep: bool, last: bool) -> None:
        super().__init__()
        self.largest, self.axis, self.keep, self.last = largest, axis, keep, last

    def forward(self, x: Tensor) -> Tensor:
        result = to_ordered(x)
        result = torch.flip(result, [self.axis]) if self.last else result
        found = (torch.argmax if self.largest else torch.argmin)(result, dim=self.axis, keepdim=self.keep)
        return x.shape[self.axis] - 1 - found if self.last else found


@converter("ArgMax", 1, 11, 12, 13)
@converter("ArgMin", 1, 11, 12, 13)
def arg(node: Node) -> TorchOperator:
    """Index of the largest or smallest value."""
    keep, last = bool(node.get("keepdims", 1)), bool(node.get("select_last_index", 0))
    return Arg(node.operator == "ArgMax", node.get("axis", 0), keep, last)


@converter("Hardmax", 1, 11, 13)
def hardmax(node: Node) -> TorchOperator:
    """One at the first maximum along an axis, zero elsewhere; before version 13, over all axes from there on."""
    axis, flat = node.get("axis", -1 if node.version >= 13 else 1), node.version < 13

    def apply(x: Tensor) -> Tensor:
        rows = x.reshape(_element_count(x, tuple(range(axis % max(x.dim(), 1)))), -1) if flat else x
        dim = 1 if flat else axis
        result = torch.zeros_like(rows).scatter(dim, torch.argmax(rows, dim=dim, keepdim=True), 1.0)
        return result.reshape(x.shape)

    return Apply(apply)


class CumulativeReduction(nn.Module):
    """Cumulative sum or product along an axis given as an input."""

    def __init__(self, product: bool, exclusive: bool, reverse: bool) -> None:
        super().__init__()
        self.product, self.exclusive, self.reverse = product, exclusive, reverse

    def forward(self, x: Tensor, axis: HostValue) -> Tensor:
        dim = to_integers(axis)[0]
        result = widen(torch.flip(x, [dim]) if self.reverse else x)
        if self.exclusive:
            first = torch.full_like(result.narrow(dim, 0, min(1, result.shape[dim])), float(self.product))
            result = torch.cat([first, result.narrow(dim, 0, max(result.shape[dim] - 1, 0))], dim=dim)
        result = (torch.cumprod if self.product else torch.cumsum)(result, dim=dim)
        return narrow(torch.flip(result, [dim]) if self.reverse else result, x.dtype)


@converter("CumSum", 11, 14)
@converter("CumProd", 26)
def cumulative(node: Node) -> TorchOperator:
    """Cumulative sum or product, from either end, with or without the element itself."""
    return read_on_host(
        CumulativeReduction(node.operator == "CumProd", bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))), 1
    )


class Trilu(nn.Module):
    """Upper or lower triangle from the k-th diagonal on, zeros elsewhere."""

    def __init__(self, upper: bool) -> None:
        super().__init__()
        self.upper = upper

    def forward(self, x: Tensor, k: HostValue | None = None) -> Tensor:
        shift = 0 if k is None else to_integers(k)[0]
        return narrow((torch.triu if self.upper else torch.tril)(widen(x), shift), x.dtype)


@converter("Trilu", 14)
def trilu(node: Node) -> TorchOperator:
    """Triangle of a matrix, or of each matrix of a batch."""
    return read_on_host(Trilu(bool(node.get("upper", 1))), 1)
