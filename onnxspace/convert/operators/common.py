"""Reductions, splits, activations and casts of versions that onnx2torch lacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from onnxspace.convert.node import Apply, Made, Node, converter

_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "ReduceMean": torch.mean,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceL2": torch.linalg.vector_norm,
}


class Reduce(nn.Module):
    """Reduction over fixed axes; all of them where `axes` is None."""

    def __init__(self, function: Callable[..., Tensor], axes: list[int] | None, keepdim: bool) -> None:
        super().__init__()
        self.function, self.axes, self.keepdim = function, axes, keepdim

    def forward(self, x: Tensor, _axes: Tensor | None = None) -> Tensor:
        axes = tuple(range(x.dim())) if self.axes is None else tuple(self.axes)
        return self.function(x, dim=axes, keepdim=self.keepdim)


@converter("ReduceMean", 18)
@converter("ReduceMax", 18, 20)
@converter("ReduceMin", 18, 20)
@converter("ReduceL2", 18)
def reduce(node: Node) -> Made:
    """Reduce* with axes as an input."""
    axes = node.ints(1)
    if not axes and node.get("noop_with_empty_axes", 0):
        return Apply(lambda x, _axes=None: x)
    return Reduce(_REDUCTIONS[node.operator], axes or None, bool(node.get("keepdims", 1)))


class Split(nn.Module):
    """Split into `count` parts of equal size, the last one smaller where it does not divide."""

    def __init__(self, count: int, axis: int, sizes: list[int] | None) -> None:
        super().__init__()
        self.count, self.axis, self.sizes = count, axis, sizes

    def forward(self, x: Tensor, _sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        equal = -(-x.shape[self.axis] // self.count)
        return tuple(torch.split(x, self.sizes or equal, dim=self.axis))


@converter("Split", 18)
def split(node: Node) -> Made:
    """Split with `num_outputs`, or sizes as an input."""
    return Split(node.outputs, node.get("axis", 0), node.ints(1))


@converter("Gelu", 20)
def gelu(node: Node) -> Made:
    """Gelu in either form."""
    return nn.GELU(approximate=node.get("approximate", "none"))


@converter("Mish", 18, 22)
def mish(_node: Node) -> Made:
    """Mish."""
    return nn.Mish()


@converter("GlobalMaxPool", 1, 22)
def global_max_pool(_node: Node) -> Made:
    """Maximum over all spatial positions, which stay as axes of size one."""
    return Apply(lambda x: torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True))


@converter("CastLike", 15, 19, 21, 23, 24, 25)
def cast_like(_node: Node) -> Made:
    """The first argument in the element type of the second."""
    return Apply(lambda x, like: x.to(like.dtype))
